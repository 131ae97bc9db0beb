//! Handles that are none, of another kind or gone, and images that are none.

use std::ptr::{null, null_mut};

use fastattention_testkit::acl::RawDevice;

use super::SYNC;

#[test]
fn handles_of_another_kind_destroyed_and_made_up() {
    let b = RawDevice::new();
    let (s, e) = (b.stream(), b.event(SYNC));
    let mut local = 0u64;
    unsafe {
        b.refused((b.t.aclrtSynchronizeStream)(e), 107_017, &["an event", "a stream wanted"]);
        b.refused((b.t.aclrtDestroyEvent)(s), 107_017, &["a stream", "an event wanted"]);
        b.refused(
            (b.t.aclrtSynchronizeStream)((&raw mut local).cast()),
            107_017,
            &["no handle of this library"],
        );
        b.refused((b.t.aclrtDestroyEvent)(null_mut()), 107_017, &["NULL given"]);
        b.refused((b.t.aclrtDestroyStream)(null_mut()), 100_000, &["stream = NULL"]);
        assert_eq!((b.t.aclrtDestroyStream)(s), 0);
        b.refused((b.t.aclrtDestroyStream)(s), 107_017, &["a stream that was destroyed"]);
        // The place is used again, the old handle stays dead.
        let again = b.stream();
        assert_ne!(again, s);
        b.refused((b.t.aclrtSynchronizeStream)(s), 107_017, &["destroyed"]);
        assert_eq!((b.t.aclrtDestroyEvent)(e), 0);
        b.refused((b.t.aclrtRecordEvent)(e, again), 107_017, &["destroyed"]);
        let mut f = null_mut();
        b.refused(
            (b.t.aclrtBinaryGetFunction)(again, c"k".as_ptr(), &mut f),
            107_017,
            &["a loaded binary wanted"],
        );
        b.refused((b.t.aclrtKernelArgsInit)(again, &mut f), 107_017, &["a function wanted"]);
        b.refused((b.t.aclrtSetCurrentContext)(null_mut()), 107_017, &["a context wanted"]);
    }
}

#[test]
fn images_that_are_none() {
    let b = RawDevice::new();
    let mut handle = null_mut();
    let junk = [1u8; 100];
    unsafe {
        b.refused(
            (b.t.aclrtBinaryLoadFromData.unwrap())(junk.as_ptr().cast(), 100, null(), &mut handle),
            107_000,
            &["100 bytes that are no kernel image"],
        );
        for absent in [c"/no/x.so", c"x.so", c"src", c""] {
            b.refused(
                (b.t.aclrtBinaryLoadFromFile)(absent.as_ptr(), null_mut(), &mut handle),
                107_009,
                &[&format!("binPath = {absent:?} is no file")],
            );
        }
        // A relative path is one from the current folder, that of this package.
        b.refused(
            (b.t.aclrtBinaryLoadFromFile)(c"Cargo.toml".as_ptr(), null_mut(), &mut handle),
            100_003,
            &["binPath = \"Cargo.toml\" is no kernel image"],
        );
        let binary = (b.t.aclrtCreateBinary)(junk.as_ptr().cast(), 100);
        assert!(!binary.is_null());
        b.refused((b.t.aclrtBinaryLoad)(binary, &mut handle), 107_000, &["no kernel image"]);
        assert_eq!((b.t.aclrtDestroyBinary)(binary), 0);
        b.refused((b.t.aclrtDestroyBinary)(binary), 107_017, &["destroyed"]);
    }
}
