//! Machines without a driver or a GPU, as those of CI are.

use fastattention::cuda::{devices, Device};
use fastattention::ErrorKind;

#[test]
fn a_missing_driver_is_an_error_that_says_what_to_do() {
    let reports = devices();
    match Device::open(0) {
        Ok(_) => println!("skipped: there is a GPU"),
        Err(error) if error.kind() == ErrorKind::LibraryNotFound => {
            let text = error.to_string();
            for part in [
                "the CUDA driver was not found",
                "install NVIDIA's driver",
                "LD_LIBRARY_PATH",
                "libcuda.so.1: ",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            let [report] = &reports[..] else { panic!("{reports:?}") };
            assert_eq!(report.name, "cuda");
            assert_eq!(report.device.as_ref().unwrap_err(), &error);
        }
        Err(error) => {
            // A driver without a usable GPU.
            println!("{error}");
            assert!(
                matches!(error.kind(), ErrorKind::NoDevice | ErrorKind::Unsupported | ErrorKind::Driver),
                "{error}"
            );
        }
    }
}

/// The example of the page is that of the module, which is compiled.
#[test]
fn the_example_of_the_page_is_compiled() {
    let module = include_str!("../../src/cuda/mod.rs");
    let page = include_str!("../../docs/volta.md");
    let code = |text: &str, prefix: &str| -> Vec<String> {
        let begin = text.find(&format!("{prefix}```")).unwrap_or_else(|| panic!("no example"));
        let lines = text[begin..]
            .lines()
            .skip(1)
            .map(|line| line.strip_prefix(prefix.trim_end()).unwrap_or(line).trim());
        lines
            .take_while(|line| *line != "```")
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    let (module, page) = (code(module, "//! "), code(&page[page.find("## From Rust").unwrap()..], ""));
    assert!(module.len() > 10, "{module:?}");
    assert_eq!(module, page);
}
