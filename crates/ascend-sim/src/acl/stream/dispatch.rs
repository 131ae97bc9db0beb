//! What a stream is given: it is queued at once, or kept by the capture that the stream takes part in.

use std::sync::{Arc, MutexGuard, PoisonError};

use ascend_sys::codes;

use super::{Stream, Work};
use crate::acl::border::{refuse, Outcome};
use crate::acl::capture::{Issued, Member};
use crate::acl::flight::Flight;

impl Stream {
    /// Queues a task, or gives it to the capture of the stream.
    pub(in crate::acl) fn dispatch(
        self: &Arc<Self>,
        task: impl Fn(&Arc<Stream>, Issued) -> Outcome + Send + Sync + 'static,
    ) -> Outcome {
        match self.capture() {
            Some(Member { graph, branch }) => graph.keep(branch, Arc::new(task)),
            None => {
                let _turn = self.turn();
                task(self, Issued::ByHost)
            }
        }
    }

    /// As [`Self::dispatch`], of plain work.
    pub(in crate::acl) fn dispatch_work(
        self: &Arc<Self>,
        work: impl Fn(&Stream) -> Outcome + Send + Sync + 'static,
    ) -> Outcome {
        let work = Arc::new(work);
        self.dispatch(move |stream, _| {
            let work = Arc::clone(&work);
            stream.submit(move |stream: &Stream| work(stream)).map(drop)
        })
    }

    /// As [`Self::dispatch`], of work for which races are looked for.
    pub(in crate::acl) fn dispatch_flight(
        self: &Arc<Self>,
        work: impl Fn(&Stream, Flight, Issued) -> Outcome + Send + Sync + 'static,
    ) -> Outcome {
        let work = Arc::new(work);
        self.dispatch(move |stream, issued| {
            let (flight, work) = (Flight::queue(stream), Arc::clone(&work));
            stream.submit(move |stream: &Stream| work(stream, flight, issued)).map(drop)
        })
    }

    /// Queues work that no capture can keep.
    pub(crate) fn submit_once(self: &Arc<Self>, what: &str, work: impl Work + 'static) -> Outcome {
        self.refuse_in_capture(what)?;
        let _turn = self.turn();
        self.submit(work).map(drop)
    }

    /// Nobody else's tasks come between those that are queued while this is held.
    pub(in crate::acl) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the stream takes part in.
    pub(in crate::acl) fn capture(&self) -> Option<Member> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::acl) fn enter_capture(&self, member: Member) -> Outcome {
        let mut capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        if capture.is_some() {
            return refuse(
                codes::RT_STREAM_CAPTURED,
                "a stream that is captured given, another one, or aclmdlRICaptureEnd before, wanted",
            );
        }
        *capture = Some(member);
        Ok(())
    }

    pub(in crate::acl) fn leave_capture(&self) {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Refuses what is illegal while the stream is captured, and ends the capture as invalid.
    ///
    /// ASSUMPTION(capture-invalid): the developer guide says that such calls make the capture fail; the open
    /// sources only refuse them.
    pub(in crate::acl) fn refuse_captured(&self, what: &str) -> Outcome {
        let Some(member) = self.capture() else { return Ok(()) };
        member.graph.invalidate("a function was called that is illegal in a capture");
        refuse(
            codes::RT_STREAM_CAPTURED,
            format!("{what} while the stream is captured; aclmdlRICaptureEnd wanted before"),
        )
    }

    /// Refuses work that cannot be captured here, and ends the capture as invalid.
    pub(crate) fn refuse_in_capture(&self, what: &str) -> Outcome {
        let Some(member) = self.capture() else { return Ok(()) };
        member.graph.invalidate("work was given that the simulator cannot capture");
        refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            format!("{what} given to a stream that is captured; the simulator cannot capture it"),
        )
    }
}
