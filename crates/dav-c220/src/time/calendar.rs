//! Capacity over time of something that all cores share.

use bytemuck::allocation::try_zeroed_slice_box;

/// Cycles of a bucket.
const BUCKET: u64 = 32;
/// Buckets kept. Transfers are granted in the order of their starts, and none reaches further ahead than
/// this.
const BUCKETS: usize = 1 << 13;
/// Units of work that a server does in a bucket.
const CAPACITY: u32 = 1 << 16;

/// Servers that each do one thing at a time. Work is booked for a time, not in the order of the calls: a
/// request that comes later in model time may be booked first without standing in the way of an earlier one.
#[derive(Debug)]
pub(super) struct Calendar {
    servers: usize,
    /// Which bucket of time a slot of the ring stands for.
    bucket: Vec<u64>,
    /// Work booked, by slot and server.
    used: Vec<u32>,
    /// Units of work per cycle of service.
    scale: f64,
}

impl Calendar {
    /// `None` when the host has no memory for it.
    pub(super) fn new(servers: usize) -> Option<Self> {
        Some(Self {
            servers,
            bucket: try_zeroed_slice_box(BUCKETS).ok()?.into_vec(),
            used: try_zeroed_slice_box(BUCKETS * servers).ok()?.into_vec(),
            scale: f64::from(CAPACITY) / BUCKET as f64,
        })
    }

    pub(super) fn clear(&mut self) {
        self.bucket.fill(0);
        self.used.fill(0);
    }

    /// Books `cycles` of service from `at` on; returns when it ends.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times are positive and far below 2^52; the fraction of a unit is dropped"
    )]
    pub(super) fn book(&mut self, server: usize, at: f64, cycles: f64) -> f64 {
        let mut left = (cycles * self.scale).ceil() as u32;
        let mut bucket = at as u64 / BUCKET;
        let mut end = at;
        while left > 0 {
            let slot = bucket as usize % BUCKETS;
            if self.bucket[slot] != bucket {
                self.bucket[slot] = bucket;
                self.used[slot * self.servers..(slot + 1) * self.servers].fill(0);
            }
            let used = &mut self.used[slot * self.servers + server];
            let take = left.min(CAPACITY - *used);
            if take > 0 {
                *used += take;
                left -= take;
                let booked = (bucket * BUCKET) as f64 + f64::from(*used) / self.scale;
                end = booked.max(at + cycles);
            }
            bucket += 1;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_server_serves_at_once_and_a_busy_one_later() {
        let mut calendar = Calendar::new(2).unwrap();
        assert_eq!(calendar.book(0, 64.0, 16.0), 80.0);
        assert_eq!(calendar.book(0, 64.0, 16.0), 96.0);
        // The bucket is full: the next one.
        assert_eq!(calendar.book(0, 64.0, 16.0), 112.0);
        assert_eq!(calendar.book(1, 64.0, 16.0), 80.0, "another server");
        assert_eq!(calendar.book(0, 32.0, 16.0), 48.0, "an earlier time, booked later");
    }

    #[test]
    fn a_ring_slot_serves_a_later_time_afresh() {
        let mut calendar = Calendar::new(1).unwrap();
        assert_eq!(calendar.book(0, 0.0, 32.0), 32.0);
        let later = (BUCKET * BUCKETS as u64) as f64;
        assert_eq!(calendar.book(0, later, 32.0), later + 32.0);
    }
}
