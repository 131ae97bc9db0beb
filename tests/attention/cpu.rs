//! Devices `cpu:N`: the same operators, on kernels in Rust. The whole tables run there with `FA_DEVICE=cpu:0`
//! (docs/testing.md); these are samples, and what only the host has.
#![allow(unsafe_code, reason = "loads an image")]

use std::num::NonZeroUsize;

use fastattention::attention::FlashAttention;
use fastattention::parallel::AttentionMatmul;
use fastattention::runtime::{Buffer, Device, KernelArgs, Module, Stream};
use fastattention::serving::ServingAttention;
use fastattention::{cpu, ErrorKind, Soc};
use fastattention_testkit::cases::{self, Case};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::run::{check_all, run};
use fastattention_testkit::serving::check as check_slots;

use crate::serving::orders;

/// A device of so many threads.
fn host(threads: usize) -> Device {
    let mut config = cpu::Config::new(Soc::by_name("Ascend910B2").unwrap()).unwrap();
    config.threads = NonZeroUsize::new(threads);
    Device::host(config).unwrap()
}

#[test]
fn every_seventh_case_is_within_twice_the_error_of_a_plain_implementation() {
    let cases: Vec<_> = cases::all().into_iter().step_by(7).collect();
    let check = |operator: &FlashAttention, case: &Case| run(operator, case, None)?.check();
    check_all(&cases, || FlashAttention::new(&host(1)).unwrap(), check);
}

/// Lists of pages, NZ pages, and pages as vLLM has them.
#[test]
fn keys_and_values_in_pieces_are_within_twice_the_error_of_a_plain_implementation() {
    check_all(&orders::table(), || ServingAttention::new(&host(1)).unwrap(), check_slots);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let operators = [1, 2, 3].map(|threads| FlashAttention::new(&host(threads)).unwrap());
    for case in cases::all().iter().step_by(61) {
        let [one, others @ ..] = operators.each_ref().map(|operator| run(operator, case, None).unwrap());
        for other in others {
            assert_same(&other.bits, &one.bits, &format!("{case:?}"));
        }
    }
}

#[test]
fn devices_are_found_by_name_and_say_what_they_are() {
    let device = Device::open("cpu").unwrap();
    let soc = std::env::var("FASTATTENTION_CPU_SOC").unwrap_or_else(|_| "Ascend910B2".into());
    assert_eq!((device.name(), &device.soc().name), ("cpu:0", &soc));
    assert!(device.runs_on_host() && !device.has_model_time() && !device.verifies_kernels());
    let info = device.memory_info().unwrap();
    assert!(info.free_bytes <= info.total_bytes && info.total_bytes > 1 << 20, "{info:?}");
    let again = Device::open(host(1).name()).unwrap();
    assert!(again.name().starts_with("cpu:"));
    let error = Device::open("cpu:999999").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDevice);
}

#[test]
fn the_self_tests_pass() {
    let device = host(2);
    FlashAttention::new(&device).unwrap().self_test().unwrap();
    AttentionMatmul::new(&device).unwrap().self_test().unwrap();
}

#[test]
fn memory_that_the_host_does_not_give_is_an_error() {
    let mut config = cpu::Config::new(Soc::by_name("Ascend910B2").unwrap()).unwrap();
    config.memory_bytes = 1 << 20;
    let device = Device::host(config).unwrap();
    let held = Buffer::alloc(&device, 1 << 19).unwrap();
    assert_eq!(Buffer::alloc(&device, 1 << 20).unwrap_err().kind(), ErrorKind::OutOfMemory);
    drop(held);
    Buffer::alloc(&device, 1 << 20).unwrap();
}

/// A kernel gets numbers that no operator gives: an address behind the end of its operand.
#[test]
fn a_kernel_that_is_given_wrong_addresses_is_an_error() {
    let device = host(2);
    let stream = Stream::new(&device).unwrap();
    // SAFETY: this image holds no code.
    let module = unsafe { Module::load(&device, cpu::image()) }.unwrap();
    let kernel = module.kernel("fa_copy").unwrap();
    let buffer = Buffer::alloc(&device, 64).unwrap();
    let args = KernelArgs::new().buffer(&buffer).buffer(&buffer).u64(65);
    kernel.launch(&stream, 1, &args).unwrap();
    let text = stream.synchronize().unwrap_err().to_string();
    assert!(text.contains("kernel fa_copy: src at"), "{text}");
    assert!(text.contains("65 bytes inside one allocation of the device wanted"), "{text}");
}
