//! The check of images.

use crate::image::{kernel_records, record, Image, AIC, AIV, MIX_AIC_MAIN, MIX_AIV_MAIN};
use fastattention_kernel_build::npu::elf;
use fastattention_kernel_build::variants::Kernel;

fn kernel(name: &str, kernel_type: &str) -> Kernel {
    Kernel {
        name: name.into(),
        dtype: "-".into(),
        kernel_type: kernel_type.into(),
        args: Vec::new(),
        file: "kernels/x.cpp".into(),
        line: String::new(),
    }
}

fn check(image: Image, kernel_type: &str) -> Result<elf::Checked, String> {
    elf::check(&image.bytes(), &[kernel("fa_x", kernel_type)])
}

/// A half of a MIX kernel.
fn half(image: Image, symbol: &str, ktype: u32, ratio: (u32, u32)) -> Image {
    image.symbol(symbol).meta(symbol, &kernel_records(ktype, Some(ratio)))
}

#[test]
fn each_kernel_type_has_its_symbols_and_records() {
    let both = |ratio| {
        let image = half(Image::new(), "fa_x_mix_aic", MIX_AIC_MAIN, ratio);
        half(image, "fa_x_mix_aiv", MIX_AIC_MAIN, ratio)
    };
    let plain = |ktype| Image::new().symbol("fa_x").meta("fa_x", &kernel_records(ktype, None));
    for (kernel_type, image, symbols) in [
        ("KERNEL_TYPE_AIC_ONLY", plain(AIC), vec!["fa_x"]),
        ("KERNEL_TYPE_AIV_ONLY", plain(AIV), vec!["fa_x"]),
        (
            "KERNEL_TYPE_MIX_AIC_1_0",
            half(Image::new(), "fa_x_mix_aic", MIX_AIC_MAIN, (1, 0)),
            vec!["fa_x_mix_aic"],
        ),
        (
            "KERNEL_TYPE_MIX_AIV_1_0",
            half(Image::new(), "fa_x_mix_aiv", MIX_AIV_MAIN, (0, 1)),
            vec!["fa_x_mix_aiv"],
        ),
        ("KERNEL_TYPE_MIX_AIC_1_1", both((1, 1)), vec!["fa_x_mix_aic", "fa_x_mix_aiv"]),
        ("KERNEL_TYPE_MIX_AIC_1_2", both((1, 2)), vec!["fa_x_mix_aic", "fa_x_mix_aiv"]),
    ] {
        let checked = check(image, kernel_type).unwrap();
        assert_eq!(checked.symbols, [symbols], "{kernel_type}");
        assert!(!checked.patches_ffts_address);
    }
    let error = check(plain(AIV), "KERNEL_TYPE_AICORE").unwrap_err();
    assert!(error.starts_with("kernel fa_x: kernel type KERNEL_TYPE_AICORE given, one of "), "{error}");
}

#[test]
fn the_flag_of_the_cross_core_address_is_read() {
    let with = |bytes: &[u8]| {
        let image = Image::new().mix_1_2("fa_x").meta("", bytes);
        check(image, "KERNEL_TYPE_MIX_AIC_1_2").unwrap().patches_ffts_address
    };
    assert!(with(&record(4, 2)));
    // Both halves of the image bring their own, and printing brings one, too.
    assert!(with(&[record(4, 1), record(4, 2), record(4, 2)].concat()));
    assert!(!with(&record(4, 1)));
    assert!(!with(&record(3, 2)));
    assert!(!with(&[]));
}

#[test]
fn what_is_missing_or_different_is_named() {
    let aic = |image| half(image, "fa_x_mix_aic", MIX_AIC_MAIN, (1, 2));
    for (image, wanted) in [
        (aic(Image::new()), "symbol fa_x_mix_aiv is missing"),
        (aic(Image::new()).undefined_symbol("fa_x_mix_aiv"), "symbol fa_x_mix_aiv is missing"),
        (aic(Image::new()).symbol("fa_x_mix_aiv"), "section .ascend.meta.fa_x_mix_aiv is missing"),
        (
            half(aic(Image::new()), "fa_x_mix_aiv", AIV, (1, 2)),
            "section .ascend.meta.fa_x_mix_aiv: kernel type 3 found, 4 wanted",
        ),
        (
            half(aic(Image::new()), "fa_x_mix_aiv", MIX_AIC_MAIN, (1, 1)),
            "section .ascend.meta.fa_x_mix_aiv: ratio 1:1 found, 1:2 wanted",
        ),
        (
            aic(Image::new()).symbol("fa_x_mix_aiv").meta("fa_x_mix_aiv", &record(1, MIX_AIC_MAIN)),
            "section .ascend.meta.fa_x_mix_aiv has no record 3 (ratio) of 4 bytes",
        ),
        (
            aic(Image::new()).symbol("fa_x_mix_aiv").meta("fa_x_mix_aiv", &[]),
            "section .ascend.meta.fa_x_mix_aiv has no record 1 (kernel type) of 4 bytes",
        ),
        (
            aic(Image::new()).symbol("fa_x_mix_aiv").meta("fa_x_mix_aiv", &[1, 0, 8, 0, 4, 0, 0, 0]),
            "section .ascend.meta.fa_x_mix_aiv: record of type 1 has 8 bytes, 4 are left",
        ),
    ] {
        let error = check(image, "KERNEL_TYPE_MIX_AIC_1_2").unwrap_err();
        assert_eq!(error, format!("kernel fa_x: {wanted}"));
    }
}

#[test]
fn every_problem_of_every_kernel_is_told() {
    let kernels = [kernel("fa_x", "KERNEL_TYPE_AIV_ONLY"), kernel("fa_y", "KERNEL_TYPE_AIC_ONLY")];
    let error = elf::check(&Image::new().bytes(), &kernels).unwrap_err();
    assert_eq!(error, "kernel fa_x: symbol fa_x is missing\nkernel fa_y: symbol fa_y is missing");
}

#[test]
fn what_is_no_elf_file_is_refused() {
    for bytes in [&b""[..], b"!<arch>\n", &Image::new().mix_1_2("fa_x").bytes()[..40]] {
        let error = elf::check(bytes, &[kernel("fa_x", "KERNEL_TYPE_AIV_ONLY")]).unwrap_err();
        assert!(error.starts_with("not an ELF file: "), "{error}");
    }
}
