//! Functions of the host in the order of a stream, and copies from and to pinned memory that they share.

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::Stream;
use crate::driver::memcpy_kind;
use crate::runtime::memory::Staging;
use crate::runtime::Operand;
use crate::{Error, ErrorKind, Result};

/// Where the functions of a stream leave their first error. The streams behind it have it, too.
pub(in crate::runtime) type Latch = Arc<OnceLock<Error>>;

/// The latches of a stream, or of an event: its own and those of all streams that it comes behind. Most
/// streams have none.
pub(in crate::runtime) type Latches = SmallVec<[Latch; 2]>;

/// Adds what is not there.
pub(in crate::runtime) fn add(latches: &mut Latches, others: &Latches) {
    for other in others {
        if !latches.iter().any(|own| Arc::ptr_eq(own, other)) {
            latches.push(Arc::clone(other));
        }
    }
}

/// The first error that one of them has.
pub(in crate::runtime) fn failure(latches: &Latches) -> Result<()> {
    latches.iter().find_map(|latch| latch.get()).map_or(Ok(()), |error| Err(error.clone()))
}

/// Tells a device's clock how many microseconds a function takes, and is told whether it has to do its work.
pub(in crate::runtime) type TellTime = fn(f64) -> bool;

/// A function that a stream calls once.
struct Call {
    function: Box<dyn Fn() -> Result<()> + Send + Sync>,
    latch: Latch,
    /// Says to a device with model time what it takes there.
    tell_time: Option<(TellTime, f64)>,
}

/// Calls it, unless one of the same stream has failed before.
extern "C" fn run(call: *mut c_void) {
    // SAFETY: `call_host` passes a `Call` that the stream keeps until this has returned.
    let call = unsafe { &*call.cast::<Call>() };
    if call.latch.get().is_some() {
        return;
    }
    if call.tell_time.is_some_and(|(tell, us)| !tell(us)) {
        return;
    }
    // What the function has left in disorder by a panic is its own: the latch ends its use.
    let outcome = catch_unwind(AssertUnwindSafe(|| (call.function)())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without text");
        Err(Error::new(ErrorKind::Internal, format!("a function of the host panicked: {text}")))
    });
    if let Err(error) = outcome {
        // The first one stays.
        let _ = call.latch.set(error);
    }
}

/// Rows that lie `pitch` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// On the device; in pinned memory they are dense.
    pub(crate) pitch: usize,
}

impl Rows {
    fn is_dense(&self) -> bool {
        self.pitch == self.bytes || self.count <= 1
    }

    /// Bytes of pinned memory; `None` for more than addresses count.
    fn dense(&self) -> Option<usize> {
        self.count.checked_mul(self.bytes)
    }

    /// Bytes from the first to behind the last one on the device.
    fn span(&self) -> Option<usize> {
        match self.count {
            0 => Some(0),
            count => (count - 1).checked_mul(self.pitch)?.checked_add(self.bytes),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Down,
    Up,
}

impl Stream {
    /// Queues a call of `function` on a thread of the driver; work behind it waits until it returns. It must
    /// call nothing of this stream's driver, and drop nothing of it. The stream keeps it and lets go of it
    /// like of everything that its work uses.
    ///
    /// An error that it returns, or its panic, is returned by [`Stream::synchronize`], [`Stream::query`] and
    /// later submissions to this stream, and to every stream that waits for an event of it from then on, or
    /// has waited since the call was queued. Functions behind it are not called. Other work runs, on data
    /// that are not defined.
    ///
    /// `model_s`: seconds that it takes on the timeline of a device with model time, where nothing measures
    /// it. A device that computes nothing does not call it.
    ///
    /// # Errors
    /// `Unsupported` when the library has no such calls (CANN before 8.3), and in a capture; `Driver` when
    /// the stream cannot take it.
    pub(crate) fn call_host(
        &self,
        model_s: f64,
        function: impl Fn() -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.refuse_recording("Stream::call_host")?;
        let launch = self.device().driver().acl.table.aclrtLaunchHostFunc.ok_or_else(|| {
            let text = "Stream::call_host: the ACL library has no aclrtLaunchHostFunc, that of CANN 8.3 or later wanted";
            Error::new(ErrorKind::Unsupported, text)
        })?;
        let latch = self.inner.own_latch();
        let tell_time = self.device().tell_host_time().map(|tell| (tell, model_s * 1e6));
        let call = Arc::new(Call { function: Box::new(function), latch, tell_time });
        let address = Arc::as_ptr(&call).cast_mut().cast();
        self.submit("aclrtLaunchHostFunc", SmallVec::from_iter([call as _]), |_, stream| {
            // SAFETY: `run` takes the address of a `Call`, which `submit` keeps until the stream is done.
            unsafe { launch(stream.0, Some(run), address) }
        })
    }

    /// Queues a copy of rows on the device to pinned memory, where they are dense from byte `to` on.
    ///
    /// # Errors
    /// `InvalidArgument` for ranges that leave the memory, `Unsupported` in a capture, `Driver`.
    pub(crate) fn copy_down(
        &self,
        from: Operand<'_>,
        rows: Rows,
        (staging, to): (&Staging, usize),
    ) -> Result<()> {
        self.copy_rows(Way::Down, from, rows, (staging, to))
    }

    /// Queues a copy the other way.
    ///
    /// # Errors
    /// As [`Self::copy_down`].
    pub(crate) fn copy_up(
        &self,
        (staging, from): (&Staging, usize),
        rows: Rows,
        to: Operand<'_>,
    ) -> Result<()> {
        self.copy_rows(Way::Up, to, rows, (staging, from))
    }

    fn copy_rows(&self, way: Way, operand: Operand<'_>, rows: Rows, pinned: (&Staging, usize)) -> Result<()> {
        let (staging, offset) = pinned;
        let name = if way == Way::Down { "Stream::copy_down" } else { "Stream::copy_up" };
        self.device().require_same(operand.device(), "a buffer")?;
        self.device().require_same(staging.device(), "pinned memory")?;
        self.refuse_recording(name)?;
        let (Some(len), Some(span)) = (rows.dense(), rows.span()) else {
            return Err(Error::invalid(format!("{name}: {rows:?} given, rows inside memory wanted")));
        };
        operand.require_room(name, span)?;
        staging.require_room(name, offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let (device, host) = (operand.pointer(), staging.at(offset));
        let kind = match way {
            Way::Down => memcpy_kind::DEVICE_TO_HOST,
            Way::Up => memcpy_kind::HOST_TO_DEVICE,
        };
        let keep = operand.keep().into_iter().chain([staging.keep()]).collect();
        let (dst, src) = if way == Way::Down { (host, device) } else { (device, host) };
        if rows.is_dense() {
            return self.submit("aclrtMemcpyAsync", keep, |t, stream| {
                // SAFETY: both ranges have `len` bytes, checked above; `submit` keeps both until the stream
                // is done.
                unsafe { (t.aclrtMemcpyAsync)(dst, len, src, len, kind, stream.0) }
            });
        }
        let (dst_pitch, src_pitch) =
            if way == Way::Down { (rows.bytes, rows.pitch) } else { (rows.pitch, rows.bytes) };
        let (width, height) = (rows.bytes, rows.count);
        self.submit("aclrtMemcpy2dAsync", keep, |t, stream| {
            // SAFETY: all rows lie in ranges that were checked above; `submit` keeps both until the stream is
            // done.
            unsafe { (t.aclrtMemcpy2dAsync)(dst, dst_pitch, src, src_pitch, width, height, kind, stream.0) }
        })
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::runtime::{Buffer, Device, Event};

    #[test]
    fn functions_and_copies_of_rows_keep_the_order_of_the_stream() {
        let device = Device::open("sim").unwrap();
        let stream = Stream::new(&device).unwrap();
        let buffer = Buffer::from_slice(&device, &(0u8..=255).collect::<Vec<_>>()).unwrap();
        let (staging, other) = (Staging::alloc(&device, 64).unwrap(), Buffer::alloc(&device, 64).unwrap());
        // Three rows of 4 bytes, 16 bytes apart.
        let rows = Rows { count: 3, bytes: 4, pitch: 16 };
        stream.copy_down(Operand::at(&buffer, 8), rows, (&staging, 4)).unwrap();
        let (read, write) = (staging.clone(), other.clone());
        stream.call_host(0.0, move || write.copy_from_staging(0, (&read, 4), 12)).unwrap();
        stream.copy_up((&staging, 8), Rows { count: 2, ..rows }, Operand::at(&buffer, 100)).unwrap();
        stream.synchronize().unwrap();
        assert_eq!(other.to_vec::<u8>().unwrap()[..12], [8, 9, 10, 11, 24, 25, 26, 27, 40, 41, 42, 43]);
        let bytes = buffer.to_vec::<u8>().unwrap();
        assert_eq!((&bytes[100..104], &bytes[116..120]), (&[24u8, 25, 26, 27][..], &[40u8, 41, 42, 43][..]));
        let text = stream.copy_down((&buffer).into(), Rows { count: 17, ..rows }, (&staging, 0)).unwrap_err();
        assert_eq!(
            text.to_string(),
            "Stream::copy_down: 260 bytes at byte 0 given, a range inside 256 bytes wanted"
        );
    }

    #[test]
    fn the_first_error_of_a_function_reaches_every_stream_behind_it() {
        let device = Device::open("sim").unwrap();
        let [own, behind, apart] = std::array::from_fn(|_| Stream::new(&device).unwrap());
        let event = Event::new(&device).unwrap();
        let calls = Arc::new(AtomicU32::new(0));
        own.call_host(0.0, || panic!("it is {}", "broken")).unwrap();
        event.record(&own).unwrap();
        behind.wait_event(&event).unwrap();
        let counter = Arc::clone(&calls);
        // May be refused, when the first one has failed by now.
        let _ = own.call_host(0.0, move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Err(Error::invalid("second"))
        });
        let text = "a function of the host panicked: it is broken";
        assert_eq!(own.synchronize().unwrap_err().to_string(), text);
        assert_eq!(behind.synchronize().unwrap_err().to_string(), text);
        assert_eq!(behind.query().unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(event.record(&own).unwrap_err().to_string(), text);
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        apart.synchronize().unwrap();
    }

    #[test]
    fn a_library_that_cannot_call_functions_says_so() {
        let config = crate::sim::Config::new(crate::Soc::by_name("Ascend910B2").unwrap());
        let device = Device::simulated_as_cann81(config).unwrap();
        let error = Stream::new(&device).unwrap().call_host(0.0, || Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("that of CANN 8.3 or later wanted"), "{error}");
    }
}
