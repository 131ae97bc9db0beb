//! Device memory of a peer, as the owner sees it.

use std::ops::Range;
use std::sync::Arc;

use super::super::buffers::{bytes, Buffers, Distant, Region, Seat};
use super::super::failure::Failure;
use super::super::operation::Operation;
use super::owner::Link;
use super::protocol::{Side, ToOwner, ToPeer};
use super::staging::PIECE;
use crate::engine::Contents;

/// A buffer of one of the peer's operations.
#[derive(Debug)]
struct Remote {
    link: Arc<Link>,
    ticket: u64,
    side: Side,
}

/// The buffers of operation `ticket`.
pub(super) fn buffers(link: &Arc<Link>, ticket: u64, operation: &Operation, seat: Seat) -> Buffers {
    let (send, recv) = operation.buffer_bytes(seat.ranks, seat.rank);
    let region = |side, len: Option<u64>| {
        let is_there = len.is_some_and(|len| len > 0);
        is_there.then(|| Region::Elsewhere(Box::new(Remote { link: Arc::clone(link), ticket, side })))
    };
    Buffers { has_data: true, send: region(Side::Send, send), recv: region(Side::Recv, recv) }
}

impl Distant for Remote {
    fn load(&self, range: Range<u64>) -> Result<Contents, Failure> {
        let (ticket, side) = (self.ticket, self.side);
        let mut contents = Contents::default();
        for start in range.clone().step_by(PIECE) {
            let len = bytes(range.end - start).min(PIECE);
            self.link.with_staging(|staging| {
                let ToOwner::Loaded { has_unset } =
                    self.link.ask(&ToPeer::Load { ticket, side, start, len })?
                else {
                    return Err(self.link.wrong_answer());
                };
                staging.take(len, has_unset, &mut contents);
                Ok(())
            })?;
        }
        Ok(contents)
    }

    fn store(&self, at: u64, contents: &Contents) -> Result<(), Failure> {
        let (ticket, side) = (self.ticket, self.side);
        let mut unset = contents.unset.as_slice();
        for (i, data) in contents.bytes.chunks(PIECE).enumerate() {
            let first = i * PIECE;
            let (own, later) = unset.split_at(unset.partition_point(|&at| at < first + data.len()));
            unset = later;
            let piece = Contents { bytes: data.to_vec(), unset: own.iter().map(|at| at - first).collect() };
            let (start, len) = (at + first as u64, data.len());
            self.link.with_staging(|staging| {
                let has_unset = staging.put(&piece);
                match self.link.ask(&ToPeer::Store { ticket, side, start, len, has_unset })? {
                    ToOwner::Stored => Ok(()),
                    _ => Err(self.link.wrong_answer()),
                }
            })?;
        }
        Ok(())
    }
}
