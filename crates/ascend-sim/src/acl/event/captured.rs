//! Events in captures (acl-runtime.md 1.8): a record makes an event of its own in the graph, and a wait for
//! it takes the stream that waits into the capture.

use std::sync::{Arc, PoisonError, Weak};

use ascend_sys::{codes, event_flag};

use super::{Event, Origin};
use crate::acl::border::{refuse, Outcome};
use crate::acl::capture::{Graph, Member};
use crate::acl::device;
use crate::acl::stream::Stream;

/// A record in a capture.
#[derive(Clone)]
pub(super) struct Captured {
    graph: Weak<Graph>,
    /// Its number in the graph.
    record: usize,
    /// What is recorded when the graph runs.
    event: Arc<Event>,
}

impl Event {
    /// The record, while its capture goes on.
    fn captured(&self) -> Option<(Arc<Graph>, Captured)> {
        let captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let graph = captured.graph.upgrade().filter(|graph| graph.is_capturing())?;
        Some((graph, captured))
    }

    /// Refuses a question or a wait of the host for an event of a capture, and ends the capture as invalid.
    pub(super) fn refuse_captured(&self, what: &str) -> Outcome {
        let Some((graph, _)) = self.captured() else { return Ok(()) };
        graph.invalidate("a function was called that is illegal in a capture");
        refuse(
            codes::RT_EVENT_CAPTURED,
            format!("{what} while the event is recorded in a capture; aclmdlRICaptureEnd wanted before"),
        )
    }

    /// Only events of `aclrtCreateEventExWithFlag` can be captured.
    fn require_capturable(&self) -> Outcome {
        if self.origin == Origin::ExWithFlag {
            return Ok(());
        }
        refuse(
            codes::RT_FEATURE_NOT_SUPPORT,
            "an event of aclrtCreateEvent or aclrtCreateEventWithFlag given in a capture, one of \
             aclrtCreateEventExWithFlag wanted",
        )
    }

    /// Keeps a record in the capture of a stream. One of an event that does not order streams is passed over.
    pub(super) fn capture_record(&self, Member { graph, branch }: &Member) -> Outcome {
        self.require_capturable()?;
        if !self.orders() {
            return Ok(());
        }
        let event = Event::new(Origin::ExWithFlag, event_flag::SYNC, self.context)?;
        let recorded = Arc::clone(&event);
        let record = graph.keep_record(*branch, Arc::new(move |stream, _| recorded.queue_record(stream)))?;
        let captured = Captured { graph: Arc::downgrade(graph), record, event };
        *self.captured.lock().unwrap_or_else(PoisonError::into_inner) = Some(captured);
        Ok(())
    }

    /// Keeps a wait in a capture: that of the event, which the stream enters if it is in none. False when
    /// neither is in a capture.
    pub(super) fn capture_wait(&self, stream: &Arc<Stream>) -> Outcome<bool> {
        match (self.captured(), stream.capture()) {
            (None, None) => Ok(false),
            (None, Some(_)) => {
                self.require_capturable()?;
                refuse(
                    codes::RT_CAPTURE_DEPENDENCY,
                    "an event that is not recorded in the capture given to a stream that is captured, one that is wanted",
                )
            }
            (Some((graph, captured)), member) => {
                let branch = enter(&graph, member, stream)?;
                let event = captured.event;
                graph.keep_wait(
                    branch,
                    captured.record,
                    Arc::new(move |stream, _| event.queue_wait(stream)),
                )?;
                Ok(true)
            }
        }
    }
}

/// The branch of a stream in the capture of an event.
fn enter(graph: &Arc<Graph>, member: Option<Member>, stream: &Arc<Stream>) -> Outcome<usize> {
    match member {
        Some(member) if Arc::ptr_eq(&member.graph, graph) => Ok(member.branch),
        Some(member) => {
            graph.invalidate("a stream of another capture waits for one of its events");
            member.graph.invalidate("a stream waits for an event of another capture");
            refuse(
                codes::STREAM_CAPTURE_CONFLICT,
                "an event of another capture than the stream's given, one of the same capture wanted",
            )
        }
        None if Arc::ptr_eq(stream, &device::current()?.default_stream) => refuse(
            codes::RT_STREAM_CAPTURE_IMPLICIT,
            "the default stream given with an event of a capture, a stream of aclrtCreateStream wanted",
        ),
        None => graph.join(stream),
    }
}
