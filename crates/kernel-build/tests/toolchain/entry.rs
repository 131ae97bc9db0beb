//! What the kernels say to a compiler (`ascendc/include/fa/entry.h`), asked of the host's.

use std::fs;
use std::path::Path;

use crate::{ascendc, config};
use fastattention_kernel_build::npu::{self, Family};
use fastattention_kernel_build::{Compiler, TARGET};

/// The text after preprocessing, with CANN's header replaced by `main_header`.
fn preprocessed(folder: &Path, main_header: &str, source: &Path, macros: &[&str]) -> Result<String, String> {
    fs::write(folder.join("kernel_operator.h"), main_header).unwrap();
    let mut command = Compiler::find(TARGET, folder).unwrap().command();
    command.arg("-I").arg(folder).arg("-I").arg(ascendc().join("include")).arg("-E").args(macros).arg(source);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

#[test]
fn the_kernels_are_for_one_architecture_whatever_a_release_calls_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = ascendc().join("kernels/copy.cpp");
    let outcome = |macros: &[&str]| preprocessed(folder.path(), "", &source, macros);
    for name in ["-D__NPU_ARCH__=2201", "-D__DAV_C220__", "-D__CCE_AICORE__=220"] {
        outcome(&[name]).unwrap();
    }
    for macros in [&[][..], &["-D__NPU_ARCH__=3510"], &["-D__CCE_AICORE__=300"]] {
        let error = outcome(macros).unwrap_err();
        assert!(error.contains("these kernels are written for dav-c220"), "{error}");
    }
}

#[test]
fn qualifiers_are_said_only_to_a_compiler_that_knows_them() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |source: &str, macros: &[&str]| {
        let macros = [&["-D__NPU_ARCH__=2201", "-P"], macros].concat();
        let text = preprocessed(folder.path(), "", &ascendc().join(source), &macros).unwrap();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, entry) = words.split_once("extern \"C\" ").unwrap();
        entry.split_once(" fa_").unwrap().0.to_owned()
    };
    let known = ["-DFA_TYPE_QUALIFIERS"];
    for (source, qualifier) in
        [("kernels/copy.cpp", "__vector__"), ("kernels/flash_fwd.cpp", "__mix__(1, 2)")]
    {
        assert_eq!(entry(source, &[]), "__global__ __aicore__ void");
        assert_eq!(entry(source, &known), format!("{qualifier} __global__ __aicore__ void"));
    }
}

/// `bisheng -x asc` knows the qualifier, CANN's CMake package the macro; both are in the preprocessed text.
#[test]
fn every_entry_has_its_parameters_and_states_its_kernel_type_in_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let macros = ["-D__NPU_ARCH__=2201", "-DFA_TYPE_QUALIFIERS", "-P"];
    for Family { source, kernels, .. } in npu::families(&ascendc(), &config()).unwrap() {
        let text = preprocessed(folder.path(), "", &source, &macros).unwrap();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ,", ",");
        assert_eq!(
            words.matches("__global__ __aicore__ void ").count(),
            kernels.len(),
            "{}",
            source.display()
        );
        for kernel in kernels {
            let qualifier = match &*kernel.kernel_type {
                "KERNEL_TYPE_AIC_ONLY" => "__cube__",
                "KERNEL_TYPE_AIV_ONLY" => "__vector__",
                "KERNEL_TYPE_MIX_AIC_1_2" => "__mix__(1, 2)",
                other => panic!("{other} is not a type that this test knows"),
            };
            let entry = format!(
                "extern \"C\" {qualifier} __global__ __aicore__ void {}({}) {{ KERNEL_TASK_TYPE_DEFAULT({});",
                kernel.name,
                kernel.args.join(", "),
                kernel.kernel_type
            );
            assert!(words.contains(&entry), "{}: `{entry}` wanted", source.display());
        }
    }
}
