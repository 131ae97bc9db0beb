//! The text that embeds the images.

use std::fs;
use std::process::Command;

use fastattention_kernel_build::run;

use crate::{copy_image, fastattention, flash_fwd_image, image, Setup};

/// A program that includes what the crate includes, and prints what it sees.
#[test]
fn the_generated_text_embeds_images_and_facts() {
    let setup = Setup::new("compiler");
    setup.hand_out("flash_fwd", flash_fwd_image().meta("", &image::record(4, 2)));
    fs::write(setup.root.join("compiler/version.info"), "Version=9.1.0 \"x\"\n").unwrap();
    let outcome = setup.build().unwrap();
    let folder = setup.folder.path();
    fs::write(folder.join("npu_kernels.rs"), outcome.to_rust()).unwrap();
    let types = fastattention().join("src/kernels/npu_build.rs");
    let main = format!(
        "#![allow(dead_code)]\n#[path = {types:?}] mod npu_build;\nuse npu_build::*;\n\
         static NPU: Result<NpuBuild, &str> = include!(\"npu_kernels.rs\");\n\
         fn main() {{\n\
             let b = NPU.as_ref().unwrap();\n\
             println!(\"{{}}|{{}}|{{}}|{{}}|{{}}\", b.route, b.cann_root, b.cann_version, b.flags.join(\" \"), b.sources_sha256);\n\
             for i in b.images {{\n\
                 println!(\"{{}}|{{}}|{{:?}}\", i.family, i.patches_ffts_address, i.kernels);\n\
                 std::fs::write(i.family, i.bytes).unwrap();\n\
             }}\n\
             println!(\"{{}}\", b.image_of(\"fa_flash_fwd_bf16\").unwrap().family);\n\
         }}\n"
    );
    fs::write(folder.join("main.rs"), main).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2021", "-o"]).arg(folder.join("main")).arg(folder.join("main.rs"));
    run(compile).unwrap();
    let output = Command::new(folder.join("main")).current_dir(folder).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    let hash = "cd ascendc && LC_ALL=C && export LC_ALL && cat include/fa/* kernels/* | sha256sum";
    let oracle = Command::new("sh").args(["-c", hash]).current_dir(fastattention()).output().unwrap();
    let facts: Vec<_> = lines[0].split('|').collect();
    assert_eq!(facts[..3], ["asc", &setup.root.to_string_lossy(), "9.1.0 \"x\""]);
    assert!(facts[3].starts_with("-O3 -mllvm "), "{stdout}");
    // Not every system has the program.
    if oracle.stdout.len() > 64 {
        assert_eq!(facts[4].as_bytes(), &oracle.stdout[..64]);
    }
    assert_eq!(
        lines[1],
        "copy|false|[NpuKernel { name: \"fa_copy\", kernel_type: \"KERNEL_TYPE_AIV_ONLY\", symbols: [\"fa_copy\"] }]"
    );
    assert!(lines[2].starts_with("flash_fwd|true|[NpuKernel { name: \"fa_flash_fwd_f16\""), "{stdout}");
    assert!(lines[2].contains("\"fa_flash_fwd_bf16_mix_aic\", \"fa_flash_fwd_bf16_mix_aiv\""), "{stdout}");
    assert_eq!(lines[3], "flash_fwd");
    assert_eq!(fs::read(folder.join("copy")).unwrap(), copy_image().bytes());
    let depends: Vec<_> = outcome.depends_on().into_iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(depends, ["bisheng", "ld.lld", "ascendc.cmake"]);
}
