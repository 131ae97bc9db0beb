//! Functions without a device: data types, half-precision numbers, versions.

use std::ffi::c_char;

use ascend_sys::{codes, AclError, CannVersion};
use half::f16;

use crate::acl::border::{c_text, call, refuse, Out, Outcome};
use crate::acl::presented;

/// Bytes of an `aclDataType`; 0 for those that have no size of their own, 1 for those of less than a byte.
pub(in crate::acl) unsafe extern "C" fn aclDataTypeSize(data_type: i32) -> usize {
    match data_type {
        // INT8, UINT8, BOOL; INT4, UINT1; HIFLOAT8 and the three FLOAT8.
        2 | 4 | 12 | 29 | 30 | 34..=37 => 1,
        // FLOAT16, INT16, UINT16, BF16.
        1 | 6 | 7 | 27 => 2,
        // FLOAT, INT32, UINT32, COMPLEX32.
        0 | 3 | 8 | 33 => 4,
        // INT64, UINT64, DOUBLE, COMPLEX64.
        9 | 10 | 11 | 16 => 8,
        // COMPLEX128.
        17 => 16,
        _ => 0,
    }
}

pub(in crate::acl) unsafe extern "C" fn aclFloat16ToFloat(value: u16) -> f32 {
    f16::from_bits(value).to_f32()
}

pub(in crate::acl) unsafe extern "C" fn aclFloatToFloat16(value: f32) -> u16 {
    f16::from_f32(value).to_bits()
}

/// A text in a field of `N` bytes, zeros behind it.
fn field<const N: usize>(text: &str) -> [c_char; N] {
    let mut field = [0; N];
    for (to, from) in field[..N - 1].iter_mut().zip(text.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    field
}

/// All packages have one version here; the driver is not simulated.
pub(in crate::acl) unsafe extern "C" fn aclsysGetCANNVersion(
    package: u32,
    version: *mut CannVersion,
) -> AclError {
    call("aclsysGetCANNVersion", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(version, "version") }?;
        if package > 6 {
            return refuse(
                codes::INVALID_FILE,
                format!("name = {package} given, 0 to 6 wanted (7, the driver, is not simulated)"),
            );
        }
        let ((major, minor, patch), text) = presented::cann_version();
        out.set(CannVersion {
            version: field(text),
            majorVersion: field(&major.to_string()),
            minorVersion: field(&minor.to_string()),
            releaseVersion: field(text.rsplit('.').next().unwrap_or_default()),
            patchVersion: field(&patch.to_string()),
            reserved: [0; 128],
        });
        Ok(())
    })
}

/// Names of the packages whose version can be asked for.
const PACKAGES: [&str; 6] = ["runtime", "toolkit", "hccl", "compiler", "opp", "cann"];

/// # Safety
/// `name` is null or a C string.
unsafe fn require_package(name: *const c_char) -> Outcome {
    // SAFETY: by this function's contract.
    let name = unsafe { c_text(name, "pkgName") }?;
    if PACKAGES.contains(&name) {
        return Ok(());
    }
    refuse(codes::INVALID_FILE, format!("pkgName = {name:?} given, one of {PACKAGES:?} wanted"))
}

/// The buffer holds 128 bytes (`ACL_PKG_VERSION_MAX_SIZE`).
pub(in crate::acl) unsafe extern "C" fn aclsysGetVersionStr(
    package: *mut c_char,
    version: *mut c_char,
) -> AclError {
    call("aclsysGetVersionStr", || {
        // SAFETY: null or a string, by the C signature.
        unsafe { require_package(package) }?;
        // SAFETY: null or writable for 128 bytes, by the C contract.
        unsafe { Out::new(version.cast::<[c_char; 128]>(), "versionStr") }?
            .set(field(presented::cann_version().1));
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclsysGetVersionNum(
    package: *mut c_char,
    version: *mut i32,
) -> AclError {
    call("aclsysGetVersionNum", || {
        // SAFETY: null or a string, by the C signature.
        unsafe { require_package(package) }?;
        let ((major, minor, patch), _) = presented::cann_version();
        // The weights are those of CANN's developer guide, compatibility handling.
        let number = major * 10_000_000 + minor * 100_000 + patch * 1_000;
        // SAFETY: null or writable, by the C signature.
        unsafe { Out::new(version, "versionNum") }?.set(number);
        Ok(())
    })
}

/// What a 910B has of `aclCannAttr`: INF_NAN 0 and BF16 1, not JIT_COMPILE 2.
const ATTRIBUTES: [i32; 2] = [0, 1];

pub(in crate::acl) unsafe extern "C" fn aclGetCannAttributeList(
    attributes: *mut *const i32,
    count: *mut usize,
) -> AclError {
    call("aclGetCannAttributeList", || {
        // SAFETY: null or writable, by the C signature.
        let attributes = unsafe { Out::new(attributes, "cannAttrList") }?;
        // SAFETY: as above.
        let count = unsafe { Out::new(count, "num") }?;
        attributes.set(ATTRIBUTES.as_ptr());
        count.set(ATTRIBUTES.len());
        Ok(())
    })
}

pub(in crate::acl) unsafe extern "C" fn aclGetCannAttribute(attribute: i32, value: *mut i32) -> AclError {
    call("aclGetCannAttribute", || {
        // SAFETY: null or writable, by the C signature.
        let out = unsafe { Out::new(value, "value") }?;
        if !(0..=2).contains(&attribute) {
            return refuse(codes::INVALID_PARAM, format!("cannAttr = {attribute} given, 0 to 2 wanted"));
        }
        out.set(i32::from(ATTRIBUTES.contains(&attribute)));
        Ok(())
    })
}
