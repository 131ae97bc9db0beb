//! What the model takes for granted. Cycles are of the 1.53 GHz clock.

use crate::{Error, Result};

/// Of any of them: with it no sum of cycles leaves 64 bits.
const LARGEST: u64 = 1_000_000;

/// Figures of the model. `docs/sources.md` of the workspace lists those without a source by their ids, and
/// `docs/volta.md` says what changing some of them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameters {
    /// Cycles that a step of a tensor instruction holds the tensor cores of a sub-core: four steps are 8
    /// cycles for 8 x 8 x 4 x 4, which is 125 TFLOPS on 80 multiprocessors at 1.53 GHz (data sheet of the
    /// V100).
    pub tensor: u64,
    /// 16 lanes a cycle (white paper of the V100); integer products share the pipe.
    pub fma: u64,
    /// 16 lanes a cycle.
    pub alu: u64,
    /// 4 lanes a cycle: special functions and conversions of integers (white paper).
    pub special: u64,
    /// From f32 to f16: ASSUMPTION(v100-to-half).
    pub to_half: u64,
    /// Until the result of a special function: ASSUMPTION(v100-special-latency).
    pub special_latency: u64,
    /// Until any other result that has a scoreboard, that of a tensor instruction too:
    /// ASSUMPTION(v100-slow-latency).
    pub slow_latency: u64,
    /// From issue to the unit that serves memory: ASSUMPTION(v100-memory-way).
    pub to_memory: u64,
    /// Of a shared load, from its first wavefront (Jia et al., arXiv 1804.06826: 19 and what issue takes).
    pub shared_latency: u64,
    /// Of an exchange between lanes: ASSUMPTION(v100-shuffle).
    pub shuffle_latency: u64,
    /// Of a global load that L2 has (Jia et al.: 193).
    pub global_latency: u64,
    /// Local memory beyond shared memory, loads: ASSUMPTION(v100-local).
    pub local_extra: u64,
    /// Until a store to shared memory clears its scoreboard: ASSUMPTION(v100-stores), as the next two.
    pub shared_store: u64,
    /// Until a store to local memory does.
    pub local_store: u64,
    /// Until a store to global memory does.
    pub global_store: u64,
    /// From the last arrival at a barrier to its opening: ASSUMPTION(v100-barrier).
    pub barrier: u64,
    /// Cycles of work that may wait before the unit that serves memory takes no more: ASSUMPTION(v100-queue).
    pub queue: u64,
    /// Bytes that memory gives a multiprocessor in 1000 cycles; 0 for no limit. 790 GB/s are 6454.
    /// ASSUMPTION(v100-dram): every multiprocessor has its share of the rate, and whole sectors count.
    pub memory_bytes_per_1000_cycles: u64,
    /// Bytes of code that the second level gives a multiprocessor in a cycle; 0 for no limit, which is what
    /// the figures of the tables have.
    pub fetch_bytes: u64,
    /// Cycles of such a fetch (`v100-fetch`).
    pub fetch_latency: u64,
    /// Bytes of code that a sub-core keeps, a line of 128 at least: 12 KiB (Jia et al.).
    pub code_bytes: u64,
    /// Lines of 128 bytes that are fetched ahead of the one that a warp is in (`v100-fetch`).
    pub lines_ahead: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            tensor: 2,
            fma: 2,
            alu: 2,
            special: 8,
            to_half: 4,
            special_latency: 20,
            slow_latency: 22,
            to_memory: 4,
            shared_latency: 24,
            shuffle_latency: 22,
            global_latency: 220,
            local_extra: 10,
            shared_store: 8,
            local_store: 10,
            global_store: 20,
            barrier: 6,
            queue: 40,
            memory_bytes_per_1000_cycles: 0,
            fetch_bytes: 0,
            fetch_latency: 40,
            code_bytes: 12 << 10,
            lines_ahead: 4,
        }
    }
}

impl Parameters {
    /// Sets one by its name.
    ///
    /// # Errors
    /// [`Error::Invalid`] lists the names if there is none like it, or says which values there can be.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        if value > LARGEST {
            return Err(Error::Invalid(format!("{name} = {value}, wanted 0 to {LARGEST}")));
        }
        let mut fields = [
            ("tensor", &mut self.tensor),
            ("fma", &mut self.fma),
            ("alu", &mut self.alu),
            ("special", &mut self.special),
            ("to_half", &mut self.to_half),
            ("special_latency", &mut self.special_latency),
            ("slow_latency", &mut self.slow_latency),
            ("to_memory", &mut self.to_memory),
            ("shared_latency", &mut self.shared_latency),
            ("shuffle_latency", &mut self.shuffle_latency),
            ("global_latency", &mut self.global_latency),
            ("local_extra", &mut self.local_extra),
            ("shared_store", &mut self.shared_store),
            ("local_store", &mut self.local_store),
            ("global_store", &mut self.global_store),
            ("barrier", &mut self.barrier),
            ("queue", &mut self.queue),
            ("memory_bytes_per_1000_cycles", &mut self.memory_bytes_per_1000_cycles),
            ("fetch_bytes", &mut self.fetch_bytes),
            ("fetch_latency", &mut self.fetch_latency),
            ("code_bytes", &mut self.code_bytes),
            ("lines_ahead", &mut self.lines_ahead),
        ];
        if let Some((_, field)) = fields.iter_mut().find(|(known, _)| *known == name) {
            **field = value;
            return Ok(());
        }
        let names = fields.map(|(known, _)| known).join(", ");
        Err(Error::Invalid(format!("no parameter {name:?}; there are {names}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_by_name_within_their_limits() {
        let mut parameters = Parameters::default();
        parameters.set("queue", 7).unwrap();
        assert_eq!(parameters, Parameters { queue: 7, ..Parameters::default() });
        let mut error = |name, value| parameters.set(name, value).unwrap_err().to_string();
        assert!(error("queu", 7).starts_with("no parameter \"queu\"; there are tensor, fma"));
        assert_eq!(error("queue", 1_000_001), "queue = 1000001, wanted 0 to 1000000");
    }
}
