//! How a plan prints itself.

use std::fmt;

use super::FlashFwdPlan;

impl fmt::Display for FlashFwdPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, t) = (self.shape(), &self.tiling);
        writeln!(f, "flash_fwd {} on {}", s.dtype, self.soc().name)?;
        writeln!(f, "problem   {s}")?;
        writeln!(f, "level 1   {}", t.candidate)?;
        writeln!(
            f,
            "level 2   Mmad {m} x {n} x {n}; a vector core has {} rows, in slices of at most {} rows and {} bytes",
            t.rows_v,
            t.slice_rows,
            t.slice_bytes,
            m = t.tile_m,
            n = super::candidate::TILE
        )?;
        for map in self.memory_maps() {
            write!(f, "{map}")?;
        }
        self.write_workspace(f)?;
        self.write_shift(f)?;
        self.write_work(f)
    }
}

impl FlashFwdPlan {
    fn write_workspace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.tiling;
        writeln!(
            f,
            "workspace {} bytes: {} cores of {} ({} of s at 0, {} of p at {}, 2 of o at {})",
            self.shifted_keys_offset_bytes(),
            t.order.num_cores,
            t.workspace_core_bytes,
            t.candidate.num_stages,
            t.candidate.p_slots(),
            t.workspace_p_offset_bytes,
            t.workspace_o_offset_bytes
        )
    }

    fn write_shift(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shift) = self.shift() else { return Ok(()) };
        writeln!(
            f,
            "keys      less their mean, in {} bytes of workspace: tiles of {} rows on {} vector cores, predicted {:.1} us",
            shift.bytes,
            shift.tiling.tile_rows,
            shift.num_cores,
            shift.predicted_us()
        )
    }

    /// Cores with the same work share a line.
    fn write_work(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loads = self.core_loads();
        let total: f64 = loads.iter().map(|l| l.cycles).sum();
        let largest = loads.iter().map(|l| l.cycles).fold(0.0, f64::max);
        let mean = total / loads.len() as f64;
        writeln!(
            f,
            "work      {} items on {} of {} cores; estimate: mean {mean:.0}, largest {largest:.0} cycles ({:+.1} %)",
            self.num_items(),
            self.num_cores(),
            self.soc().cube_cores,
            if mean > 0.0 { (largest / mean - 1.0) * 100.0 } else { 0.0 }
        )?;
        let mut first = 0;
        for core in 1..=loads.len() {
            if core < loads.len() && loads[core] == loads[first] {
                continue;
            }
            let name = if core - first == 1 {
                format!("core {first}")
            } else {
                format!("cores {first}-{}", core - 1)
            };
            writeln!(f, "     {name:<11} {} items, {:.0} cycles", loads[first].items, loads[first].cycles)?;
            first = core;
        }
        let predicted = self.predicted_us();
        match self.tuned_us() {
            Some(us) => writeln!(
                f,
                "chosen    from tuning results: {us:.1} us of model time there; predicted {predicted:.1} us"
            ),
            None => writeln!(
                f,
                "chosen    from {} candidates, {} more rejected: predicted {predicted:.1} us of model time",
                self.estimated.len(),
                self.rejected.len()
            ),
        }
    }
}
