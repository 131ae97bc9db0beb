//! What `.ci/sanitizers` relies on: UndefinedBehaviorSanitizer in a kernel ends the process with a report.

use std::time::Duration;

use fastattention::runtime::{Buffer, KernelArgs, Stream};
use fastattention_testkit::child;
use fastattention_testkit::kernels::{compile, Registration};

use crate::mutation::load;

/// Set in the child process: by how much it shifts.
const SHIFT: &str = "FA_TEST_SHIFT";

const KERNEL: &str = "#include \"kernel_operator.h\"\n\
    extern \"C\" __global__ __aicore__ void shifted(GM_ADDR dst, uint64_t by) {\n\
        AscendC::GlobalTensor<int32_t> out;\n\
        out.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(dst));\n\
        out.SetValue(0, 1 << by);\n\
    }\n";

/// As in `.ci/sanitizers`. The compiler is found with them, and links with them, too.
const CXXFLAGS: &str = "-fsanitize=undefined -fno-sanitize-recover=undefined -Wno-error=conversion";

fn shift(by: u64) {
    let kernel =
        Registration { name: "shifted", params: "GM_ADDR dst, uint64_t by", kernel_type: "kAivOnly" };
    let (device, module) = load(&compile(KERNEL, &[kernel]));
    let dst = Buffer::from_slice(&device, &[0i32; 8]).unwrap();
    let args = KernelArgs::new().buffer(&dst).u64(by);
    let stream = Stream::new(&device).unwrap();
    module.kernel("shifted").unwrap().launch(&stream, 1, &args).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(dst.to_vec::<i32>().unwrap()[0], 1 << by);
}

#[test]
fn undefined_behaviour_in_a_kernel_ends_the_process_with_a_report() {
    const NAME: &str = "undefined_behaviour_in_a_kernel_ends_the_process_with_a_report";
    if let Ok(by) = std::env::var(SHIFT) {
        return shift(by.parse().unwrap());
    }
    let run = |by: &str| {
        let mut command = child::test(module_path!(), NAME);
        child::run(command.env(SHIFT, by).env("CXXFLAGS", CXXFLAGS), Duration::from_secs(120))
    };
    let right = run("4");
    assert!(right.status.success(), "{}", child::text(&right));
    let wrong = run("40");
    let text = child::text(&wrong);
    assert!(!wrong.status.success(), "{text}");
    assert!(text.contains("runtime error: shift exponent 40 is too large for 32-bit type 'int'"), "{text}");
}
