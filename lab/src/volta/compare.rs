//! The model from PTX alone, held against that from machine code.

use anyhow::Result;
use fastattention_cli::print;
use fastattention_v100::Parameters;

use super::forward::{self, Case};
use super::kernels::{Kernels, Source};

/// How far off the model from PTX is: `docs/volta.md` has the table.
pub(super) const ERROR: &str =
    "against machine code 0.90 to 1.12 times the TFLOPS of many rows, 0.83 to 1.00 times \
                                the GB/s of decode (docs/volta.md)";

/// Grid and steady TFLOPS both ways, and the ratios.
pub(super) fn table(
    source: Source<'_>,
    cases: &[Case],
    samples: usize,
    parameters: &Parameters,
) -> Result<()> {
    let (mut made, mut guessed) = (Kernels::new(source), Kernels::new(Source::Ptx));
    print(format_args!(
        "| head_dim | S | mask | kernel | grid TFLOPS | from PTX | ratio | steady TFLOPS | from PTX | ratio | \
         instructions per mma | from PTX | registers | from PTX |\n| {} |",
        ["---"; 14].join(" | ")
    ))?;
    let mut ratios = [Vec::new(), Vec::new()];
    for case in cases {
        let [machine, ptx] =
            [&mut made, &mut guessed].map(|kernels| forward::run(kernels, case, samples, parameters));
        let (machine, ptx) = (machine?, ptx?);
        let grid = [&machine, &ptx].map(|modelled| modelled.grid_tflops(case));
        let steady = [&machine, &ptx].map(|modelled| modelled.steady_tflops(case));
        let ratio = [grid, steady].map(|[machine, ptx]| ptx / machine);
        print(format_args!(
            "| {case} | {} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {} | {} |",
            machine.kernel.trim_start_matches("flash_fwd_f16_"),
            grid[0],
            grid[1],
            ratio[0],
            steady[0],
            steady[1],
            ratio[1],
            machine.instructions_per_mma(),
            ptx.instructions_per_mma(),
            machine.registers,
            ptx.registers,
        ))?;
        ratios.iter_mut().zip(ratio).for_each(|(all, ratio)| all.push(ratio));
    }
    for (name, ratios) in ["grid", "steady"].iter().zip(ratios) {
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
        #[allow(clippy::cast_precision_loss, reason = "a few problems")]
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64).exp();
        print(format_args!(
            "\n{name}: from PTX {least:.2} to {most:.2} times as many, geometric mean {mean:.2}"
        ))?;
    }
    Ok(())
}
