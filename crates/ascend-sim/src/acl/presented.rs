//! Which CANN the functions pretend to be: version numbers that programs ask for.

use std::sync::atomic::{AtomicI32, Ordering};

/// ACL version (acl-runtime.md 1.1) and version of CANN, of which the last two numbers are minor and patch.
const KNOWN: [(i32, (i32, i32, i32), &str); 3] =
    [(13, (8, 1, 0), "8.1.RC1"), (16, (8, 5, 0), "8.5.0"), (17, (9, 1, 0), "9.1.0")];

/// CANN 8.5: the functions of the table end there.
static ACL_MINOR: AtomicI32 = AtomicI32::new(16);

/// Sets the minor version of the ACL interface.
pub(crate) fn set(acl_minor: i32) {
    ACL_MINOR.store(acl_minor, Ordering::Relaxed);
}

/// Version of the ACL interface: major, minor, patch.
pub(super) fn acl_version() -> (i32, i32, i32) {
    (1, ACL_MINOR.load(Ordering::Relaxed), 0)
}

/// Version of CANN, as numbers and as text.
pub(super) fn cann_version() -> ((i32, i32, i32), &'static str) {
    let minor = ACL_MINOR.load(Ordering::Relaxed);
    let known = KNOWN.iter().rev().find(|(acl_minor, ..)| *acl_minor <= minor).unwrap_or(&KNOWN[0]);
    (known.1, known.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cann_goes_with_the_version_of_its_interface() {
        assert_eq!(acl_version(), (1, 16, 0));
        assert_eq!(cann_version(), ((8, 5, 0), "8.5.0"));
    }
}
