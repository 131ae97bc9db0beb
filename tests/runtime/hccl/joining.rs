//! Ranks that do not become a communicator, and the options of one.

use fastattention::runtime::{Communicator, CommunicatorOptions, Device, RootInfo};
use fastattention::{DriverCode, ErrorKind};

use super::failures::{assert_error, PARA, TIMEOUT};
use super::{device_with, hasty, patient};

/// Codes of `hccl_types.h`.
const NOT_FOUND: DriverCode = DriverCode::Hccl(6);

#[test]
fn ranks_that_do_not_find_each_other_are_told_why() {
    let device = device_with(hasty());
    let root = || RootInfo::new(&device).unwrap();

    assert_error(
        Communicator::new(&device, &root(), 2, 2),
        PARA,
        &["rank = 2 given, a rank below nRanks = 2"],
    );
    assert_error(Communicator::new(&device, &root(), 0, 0), PARA, &["nRanks = 0 given"]);

    let lonely = root();
    assert_error(
        Communicator::new(&device, &lonely, 0, 3),
        TIMEOUT,
        &["rank 0 waited 200ms for rank 1, 2 of 3"],
    );
    assert_error(Communicator::new(&device, &lonely, 1, 3), NOT_FOUND, &["is used up"]);

    let used = root();
    drop(Communicator::new(&device, &used, 0, 1).unwrap());
    assert_error(Communicator::new(&device, &used, 0, 1), NOT_FOUND, &["is used up"]);

    // Byte 16 is the process, byte 28 the nonce, byte 39 the name of the endpoint.
    let mut bytes = root().to_bytes();
    bytes[28] ^= 1;
    let other = RootInfo::from_bytes(&bytes).unwrap();
    assert_error(Communicator::new(&device, &other, 0, 1), NOT_FOUND, &["is used up"]);
    bytes[16] ^= 1;
    let foreign = RootInfo::from_bytes(&bytes).unwrap();
    assert_error(Communicator::new(&device, &foreign, 0, 1), PARA, &["its nonce is not that"]);
    // Names are random: one may begin with any letter.
    bytes[39] = if bytes[39] == b'x' { b'y' } else { b'x' };
    let nowhere = RootInfo::from_bytes(&bytes).unwrap();
    assert_error(Communicator::new(&device, &nowhere, 0, 1), NOT_FOUND, &["or whose process has ended"]);
    bytes[0] ^= 1;
    let forged = RootInfo::from_bytes(&bytes).unwrap();
    assert_error(
        Communicator::new(&device, &forged, 0, 1),
        PARA,
        &["rootInfo of another library given, one of HcclGetRootInfo of this library wanted"],
    );
    assert_eq!(RootInfo::from_bytes(&bytes[1..]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// Two ranks that join with different wishes both get `texts`.
fn assert_no_meeting(
    (first, one): (&Device, (u32, u32)),
    (second, two): (&Device, (u32, u32)),
    options: &CommunicatorOptions,
    texts: &[&str],
) {
    let root = RootInfo::new(first).unwrap();
    std::thread::scope(|scope| {
        let early = scope.spawn(|| Communicator::new(first, &root, one.0, one.1));
        let late = scope.spawn(|| Communicator::with_options(second, &root, two.0, two.1, options));
        assert_error(early.join().unwrap(), PARA, texts);
        assert_error(late.join().unwrap(), PARA, texts);
    });
}

#[test]
fn ranks_that_join_differently_are_both_refused() {
    let (a, b) = (device_with(patient()), device_with(patient()));
    let plain = CommunicatorOptions::default();
    let named = CommunicatorOptions { name: Some("tp0".into()), ..plain.clone() };
    assert_no_meeting((&a, (0, 2)), (&b, (1, 3)), &plain, &["number of ranks: rank", "gives 2", "gives 3"]);
    assert_no_meeting((&a, (0, 2)), (&b, (0, 2)), &plain, &["a device for each rank wanted"]);
    assert_no_meeting((&a, (0, 2)), (&a, (1, 2)), &plain, &["a device for each rank wanted"]);
    assert_no_meeting((&a, (0, 2)), (&b, (1, 2)), &named, &["name: rank", "gives tp0", "gives no name"]);
    let twice = [a.clone(), a.clone()];
    assert_error(Communicator::init_all(&twice), PARA, &["a device for each rank wanted"]);
    assert_eq!(Communicator::init_all(&[]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn options_are_checked_and_used() {
    let device = device_with(patient());
    let with = |options: CommunicatorOptions| {
        Communicator::with_options(&device, &RootInfo::new(&device).unwrap(), 0, 1, &options)
    };
    let none = CommunicatorOptions::default();
    let long = "n".repeat(128);
    for options in [
        CommunicatorOptions { buffer_size_mb: Some(0), ..none.clone() },
        CommunicatorOptions { buffer_size_mb: Some(u32::MAX), ..none.clone() },
        CommunicatorOptions { name: Some(String::new()), ..none.clone() },
        CommunicatorOptions { name: Some("a\0b".into()), ..none.clone() },
        CommunicatorOptions { name: Some(long.clone()), ..none.clone() },
    ] {
        assert_eq!(with(options).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let name = &long[1..];
    let options = CommunicatorOptions {
        name: Some(name.into()),
        is_deterministic: Some(true),
        buffer_size_mb: Some(1),
    };
    assert_eq!(with(options).unwrap().name().unwrap(), name);
    assert!(with(none).unwrap().name().unwrap().starts_with("sim_"));
}

#[test]
fn an_npu_without_the_library_says_so() {
    // Where CANN is installed there is nothing to test.
    if let Err(error) = fastattention::hccl::library() {
        assert_eq!(error.kind(), ErrorKind::LibraryNotFound);
        assert!(error.to_string().contains("libhccl.so"), "{error}");
    }
}
