//! A shared library in memory. What it exports is foreign: pointers, counts and names are compared with where
//! the library lies before they are followed, and what is read through them is borrowed from it.
#![allow(unsafe_code, reason = "loads a shared library and reads the C structures that it exports")]

use std::ffi::{c_char, CStr};
use std::fmt;
use std::path::Path;

use super::layout::{self, Segment};
use crate::machine::abi::FasimImage;

/// A loaded library.
#[derive(Debug)]
pub(super) struct Mapped {
    handle: libloading::Library,
    /// Where its segments lie; `None` where that cannot be known (not ELF, or another loader than glibc's).
    place: Option<Mapping>,
}

#[derive(Debug)]
struct Mapping {
    /// Added to the addresses of the segments.
    base: u64,
    segments: Vec<Segment>,
}

impl Mapped {
    /// Checks the bytes of a library and loads it.
    ///
    /// # Errors
    /// What is wrong with the file, or what the loader said: also which symbol is defined nowhere.
    ///
    /// # Safety
    /// The initialisers of the library may run here, and it keeps `machine_abi.h`.
    pub(super) unsafe fn open(path: &Path, data: &[u8]) -> Result<Mapped, String> {
        // SAFETY: the caller's contract is the same.
        unsafe { open(path, data) }.map_err(|e| format!("{} cannot be loaded: {e}", path.display()))
    }

    /// What `fasim_image` returns.
    ///
    /// # Errors
    /// When there is no such function, or no table where it points.
    pub(super) fn image(&self) -> Result<FasimImage, String> {
        // SAFETY: machine_abi.h fixes the type of the exported `fasim_image`.
        let entry =
            unsafe { self.handle.get::<unsafe extern "C" fn() -> *const FasimImage>(b"fasim_image\0") }
                .map_err(|e| e.to_string())?;
        self.require_code(*entry as usize, "fasim_image")?;
        // SAFETY: as above; it takes nothing and returns a pointer to a table inside the library.
        let raw = unsafe { entry() };
        if raw.is_null() {
            return Err("fasim_image returned a null pointer".into());
        }
        Ok(self.table(raw, 1, "image")?[0])
    }

    /// A table of `len` entries.
    ///
    /// # Errors
    /// When it is not inside the library.
    pub(super) fn table<T: Foreign>(&self, start: *const T, len: u32, name: &str) -> Result<&[T], String> {
        if len == 0 {
            return Ok(&[]);
        }
        if start.is_null() {
            return Err(format!("the image announces {len} {name} but gives no table"));
        }
        let room = self.room(start.addr(), |s| s.is_readable);
        let fits = size_of::<T>().checked_mul(len as usize).is_some_and(|bytes| bytes <= room);
        if !fits || !start.is_aligned() {
            return Err(format!(
                "the image announces {len} {name} at {:#x}, where the library has no such table",
                start.addr()
            ));
        }
        // SAFETY: machine_abi.h: `start` points to `len` entries in the library's constant data; the lines
        // above have compared that with its segments, which `self` keeps mapped. Any bytes are a value of
        // `T`.
        Ok(unsafe { std::slice::from_raw_parts(start, len as usize) })
    }

    /// A C string.
    ///
    /// # Errors
    /// When it is not inside the library, or no UTF-8.
    pub(super) fn text(&self, start: *const c_char, what: &str) -> Result<&str, String> {
        if start.is_null() {
            return Err(format!("the image has {what} without a name"));
        }
        let room = self.room(start.addr(), |s| s.is_readable);
        let text = if self.place.is_none() {
            // SAFETY: machine_abi.h: names are C strings in the library's constant data, which `self` keeps
            // mapped.
            Ok(unsafe { CStr::from_ptr(start) })
        } else {
            // SAFETY: `room` bytes from `start` on are in a segment of the library, which `self` keeps
            // mapped.
            CStr::from_bytes_until_nul(unsafe { std::slice::from_raw_parts(start.cast(), room) })
        };
        let text = text.map_err(|_| format!("the name of {what} is not inside the library"))?;
        text.to_str().map_err(|_| format!("the name of {what} is not UTF-8"))
    }

    /// Requires a function of the library.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn require_code(&self, address: usize, what: &str) -> Result<(), String> {
        match self.room(address, |s| s.is_executable) {
            0 => Err(format!("{what} is at {address:#x}, where the library has no code")),
            _ => Ok(()),
        }
    }

    /// Bytes from an address to the end of its segment; 0 when it is in none that `is_usable`.
    fn room(&self, address: usize, is_usable: impl Fn(&Segment) -> bool) -> usize {
        let Some(Mapping { base, segments }) = &self.place else { return isize::MAX as usize };
        let at = (address as u64).wrapping_sub(*base);
        let segment = segments.iter().find(|s| is_usable(s) && s.start <= at && at < s.end);
        segment.map_or(0, |s| usize::try_from(s.end - at).unwrap_or(0))
    }
}

/// A C structure of which any bytes are a value.
pub(super) trait Foreign: Copy {}
impl Foreign for FasimImage {}
impl Foreign for crate::machine::abi::FasimKernel {}
impl Foreign for *const c_char {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe fn open(path: &Path, data: &[u8]) -> Result<Mapped, String> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    /// The beginning of glibc's `struct link_map`.
    #[repr(C)]
    struct LinkMap {
        l_addr: usize,
    }
    let text = |e: &dyn fmt::Display| e.to_string();
    let segments = layout::check(data)?;
    // What is defined nowhere is found now; found at its first call it would end the process.
    // SAFETY: the caller vouches for its initialisers.
    let handle =
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| text(&e))?.into_raw();
    let mut map: *const LinkMap = std::ptr::null();
    // SAFETY: the handle is alive, and with this request the result is a pointer to its link map.
    let code = unsafe { libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
    // SAFETY: it came from `into_raw` and is closed by nobody else.
    let handle = unsafe { Library::from_raw(handle) }.into();
    // SAFETY: null or the link map of a library that is loaded.
    let map = unsafe { map.as_ref() }.filter(|_| code == 0).ok_or("the loader does not say where it is")?;
    Ok(Mapped { handle, place: Some(Mapping { base: map.l_addr as u64, segments }) })
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
unsafe fn open(path: &Path, data: &[u8]) -> Result<Mapped, String> {
    if cfg!(target_os = "linux") {
        layout::check(data)?;
    }
    // SAFETY: the caller vouches for its initialisers.
    let handle = unsafe { libloading::Library::new(path) }.map_err(|e| e.to_string())?;
    Ok(Mapped { handle, place: None })
}
