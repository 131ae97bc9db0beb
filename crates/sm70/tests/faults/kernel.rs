//! A kernel of a few lines, and its run.

use fastattention_sm70::{Counters, Error, Fault, FaultKind, Launch, Memory, Module, Params};

/// Lines before the body: line 1 of the body is line 12 of the text.
const HEAD: &str = "\
.version 6.4
.target sm_70
.address_size 64
.file 1 \"kernel.cu\"
.extern .shared .align 16 .b8 tile[];
.visible .entry test(.param .u64 in, .param .u64 out, .param .u32 n) {
.reg .pred %p<10>; .reg .b16 %h<4>; .reg .b32 %r<40>; .reg .f32 %f<20>; .reg .b64 %rd<20>;
ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; ld.param.u32 %r1, [n];
mov.u32 %r2, %tid.x; mul.wide.u32 %rd3, %r2, 4; mov.u32 %r3, %ctaid.x;
add.s64 %rd4, %rd1, %rd3; add.s64 %rd5, %rd2, %rd3;
.loc 1 7 0
";
/// Line of the text on which the body begins.
pub(crate) const FIRST: u32 = 12;
/// Bytes of `in`, all written, and of `out`, none of them.
pub(crate) const BYTES: usize = 1024;
/// Bytes of shared memory.
pub(crate) const SHARED_BYTES: u32 = 1024;

/// Runs `body` with `%rd1` in, `%rd2` out, `%rd4` and `%rd5` the thread's words of them, `%r1` the number 5,
/// `%r2` the thread, `%r3` the block, `%rd3` four times the thread. Gives `out` if all of it was written.
pub(crate) fn run(body: &str, blocks: u32, threads: u32) -> Result<(Option<Vec<u32>>, Counters), Error> {
    let module = Module::parse(&format!("{HEAD}{body}\nret; }}"))?;
    let mut memory = Memory::new();
    let words: Vec<u8> = (0..BYTES / 4)
        .map(|word| u32::try_from(word).unwrap())
        .flat_map(|word| (word * word).to_le_bytes())
        .collect();
    let input = memory.upload("in", &words);
    let out = memory.allocate("out", BYTES);
    let params = Params::new().u64(input).u64(out).u32(5);
    let mut launch = Launch::new([blocks, 1, 1], [threads, 1, 1], &params);
    launch.shared_bytes = SHARED_BYTES;
    let counters = module.kernel("test")?.launch(&mut memory, &launch)?;
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    Ok((memory.read(out).map(|bytes| bytes.chunks_exact(4).map(word).collect()), counters))
}

/// The fault of a wrong kernel.
pub(crate) fn fault(body: &str, blocks: u32, threads: u32) -> Fault {
    let error = run(body, blocks, threads).expect_err("the kernel is wrong");
    error.fault().unwrap_or_else(|| panic!("a fault is wanted, not {error}")).clone()
}

/// Asserts the kind, the lines of the body (from 0) of both sides, and words of the message.
pub(crate) fn assert_fault(fault: &Fault, kind: FaultKind, at: u32, other: Option<u32>, message: &str) {
    assert_eq!(fault.kind, kind, "{fault}");
    assert_eq!(fault.at.line, FIRST + at, "{fault}");
    assert_eq!(fault.other.as_ref().map(|site| site.line), other.map(|line| FIRST + line), "{fault}");
    assert!(fault.message.contains(message), "{fault}");
}

/// Runs a right kernel.
pub(crate) fn right(body: &str, blocks: u32, threads: u32) -> (Option<Vec<u32>>, Counters) {
    run(body, blocks, threads).unwrap_or_else(|error| panic!("the kernel is right: {error}"))
}
