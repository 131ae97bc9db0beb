//! What is no fault: text that is not modelled, text that is no PTX, launches that do not fit.

use fastattention_sm70::{Error, Launch, Memory, Module, Params};

use super::kernel::{run, FIRST};

fn unsupported(body: &str, line: u32, what: &str) {
    match run(body, 1, 1) {
        Err(Error::Unsupported(found)) => {
            assert_eq!(found.line, FIRST + line, "{body}: {found:?}");
            assert!(found.what.contains(what), "{body}: {found:?}");
        }
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn what_is_not_modelled_is_named_with_its_line() {
    unsupported("mov.u32 %r4, 1;\nsin.approx.f32 %f1, %f2;", 1, "sin.approx.f32");
    unsupported("atom.global.add.u32 %r4, [%rd1], 1;", 0, "atom.global.add.u32");
    unsupported("ld.shared.u16 %h1, [%rd3];", 0, "ld.shared.u16");
    unsupported("mma.sync.aligned.m8n8k4.col.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r1}, {%f1};", 0, "col.col");
    unsupported("bar.sync 0, 64;", 0, "bar.sync");
    unsupported("mov.u32 %r4, %smid;", 0, "%smid");
    unsupported(".local .b8 x[4];", 0, ".local");
    unsupported(".reg .f64 %d<2>;", 0, ".f64");
}

#[test]
fn what_is_no_ptx_is_invalid() {
    for (body, what) in [
        ("add.s32 %r4, %r5;", "2 operands, wanted 3"),
        ("add.s32 %r4, %r500, 1;", "operand 2"),
        ("add.s32 %r4, %rd1, 1;", "operand 2"),
        ("bra NOWHERE;", "NOWHERE"),
        ("L: L:", "twice"),
        ("mov.u32 %r4, 0xzz;", "0xzz"),
        ("mov.u32 %r4, 99999999999;", "operand 2"),
        ("ld.param.u64 %rd6, [n];", "4 of the parameter"),
        ("add.s32 %r4, \"", "string without end"),
        ("/*", "comment without end"),
        ("add.s32 %r4, %r2, \u{e9};", "character"),
        ("@%r2 ret;", "no predicate"),
    ] {
        match run(body, 1, 1) {
            Err(Error::Invalid(text)) => assert!(text.contains(what), "{body}: {text}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

/// Cut off anywhere, a kernel's text is refused, never a panic.
#[test]
fn a_text_that_ends_anywhere_is_refused() {
    let text = ".version 6.4\n.target sm_70\n.extern .shared .align 16 .b8 t[];\n\
                .visible .entry k(.param .u64 a)\n.maxntid 32, 1, 1\n{\
                .reg .b32 %r<3>; .loc 1 2 3\n L: @!%p1 bra L; mov.b32 %r1, {%r2, -1}; \
                ld.shared.u32 %r1, [t+4]; /* */ }";
    for end in 0..text.len() {
        if let Ok(module) = Module::parse(&text[..end]) {
            assert!(module.kernel("k").is_err());
        }
    }
}

/// Texts that ask for more than their length: of stack, of memory.
#[test]
fn texts_that_ask_for_too_much_are_refused() {
    unsupported(&"{".repeat(100_000), 0, "blocks within each other");
    unsupported(".reg .b32 %z<4000000000>;", 0, "registers");
    for open in ["{", "[", "!", "-"] {
        let text = format!("mov.u32 %r4, {};", open.repeat(100_000));
        assert!(matches!(run(&text, 1, 1), Err(Error::Invalid(_))));
    }
}

#[test]
fn launches_that_do_not_fit() {
    let module = Module::parse(".visible .entry k(.param .u32 a) .maxntid 64, 1, 1 { ret; }").unwrap();
    let kernel = module.kernel("k").unwrap();
    let (params, long) = (Params::new().u32(1), Params::new().u64(1));
    let good = Launch::new([1, 1, 1], [64, 1, 1], &params);
    let refuse = |launch: Launch<'_>, what: &str| match kernel.launch(&mut Memory::new(), &launch) {
        Err(Error::Invalid(text)) => assert!(text.contains(what), "{text}"),
        other => panic!("{launch:?}: {other:?}"),
    };
    kernel.launch(&mut Memory::new(), &good).unwrap();
    refuse(Launch { params: &long, ..good }, "8 bytes of parameters, wanted 4");
    refuse(Launch { block: [65, 1, 1], ..good }, "wanted 1 to 64");
    refuse(Launch { block: [0, 1, 1], ..good }, "wanted 1 to 64");
    refuse(Launch { block: [u32::MAX, u32::MAX, 2], ..good }, "wanted 1 to 64");
    refuse(Launch { grid: [1, 0, 1], ..good }, "grid");
    refuse(Launch { grid: [u32::MAX, 2, 1], ..good }, "grid");
    refuse(Launch { shared_bytes: 98305, ..good }, "at most 98304");
    assert!(matches!(module.kernel("l"), Err(Error::Invalid(text)) if text.contains("[\"k\"]")));
}
