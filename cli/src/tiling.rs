//! Tilings as arguments give them.

use std::fmt;

use anyhow::{bail, Context, Result};
use fastattention::matmul::{self, Axis, L1Halves};
use fastattention::tiling::Candidate;

/// A tiling of an operator that has a choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tiling {
    /// Of `flash_fwd`.
    FlashFwd(Candidate),
    /// Of a matrix product.
    Matmul(matmul::Tiling),
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tiling::FlashFwd(tiling) => tiling.fmt(f),
            Tiling::Matmul(tiling) => tiling.fmt(f),
        }
    }
}

/// Fields of a tiling that take the place of the planner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

/// `block_m=256,block_n=512`, or as `plan` prints tilings: `block_m 256, block_n 512`.
///
/// # Errors
/// What the text is, and what is wanted.
pub fn parse_fields(text: &str) -> Result<Fields, String> {
    let wanted = || format!("tiling {text:?} is not NAME=VALUE[,NAME=VALUE ...], as block_m=256,block_n=512");
    let mut fields: Vec<(String, String)> = Vec::new();
    for part in text.split(',') {
        let (name, value) = part.trim().split_once(['=', ' ']).ok_or_else(wanted)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(wanted());
        }
        if fields.iter().any(|(own, _)| own == name) {
            return Err(format!("tiling {text:?} has {name} twice"));
        }
        fields.push((name.to_owned(), value.to_owned()));
    }
    Ok(Fields(fields))
}

impl Fields {
    /// `chosen` with these fields.
    ///
    /// # Errors
    /// A field that there is not, or a value that is no number.
    pub fn of_flash_fwd(&self, mut chosen: Candidate) -> Result<Candidate> {
        for (name, value) in &self.0 {
            let field = match name.as_str() {
                "block_m" => &mut chosen.block_m,
                "block_n" => &mut chosen.block_n,
                "chunk_n" => &mut chosen.chunk_n,
                "num_stages" => &mut chosen.num_stages,
                "preload" => &mut chosen.preload,
                "bundle_steps" => &mut chosen.bundle_steps,
                _ => bail!(
                    "flash_fwd: its tiling has no {name}; wanted block_m, block_n, chunk_n, num_stages, \
                     preload or bundle_steps"
                ),
            };
            *field = number(name, value)?;
        }
        Ok(chosen)
    }

    /// `chosen` with these fields.
    ///
    /// # Errors
    /// As for [`Self::of_flash_fwd`].
    pub fn of_matmul(&self, mut chosen: matmul::Tiling) -> Result<matmul::Tiling> {
        for (name, value) in &self.0 {
            let field = match name.as_str() {
                "block_m" => &mut chosen.block[0],
                "block_n" => &mut chosen.block[1],
                "tile_m" => &mut chosen.tile[0],
                "tile_n" => &mut chosen.tile[1],
                "tile_k" => &mut chosen.tile[2],
                "step_k_a" => &mut chosen.step_k[0],
                "step_k_b" => &mut chosen.step_k[1],
                "l1_buffers" => &mut chosen.l1_buffers,
                "l0_buffers" => &mut chosen.l0_buffers,
                "l0c_buffers" => &mut chosen.l0c_buffers,
                "swizzle" => &mut chosen.swizzle,
                "num_cores" => &mut chosen.num_cores,
                "unit_flag" => {
                    chosen.unit_flag = one_of(name, value, [("on", true), ("off", false)])?;
                    continue;
                }
                "b_past_l2" => {
                    chosen.b_past_l2 = one_of(name, value, [("on", true), ("off", false)])?;
                    continue;
                }
                "l1_halves" => {
                    let known = [("buffers", L1Halves::Buffers), ("operands", L1Halves::Operands)];
                    chosen.l1_halves = one_of(name, value, known)?;
                    continue;
                }
                "swizzle_axis" => {
                    chosen.swizzle_axis = one_of(name, value, [("m", Axis::M), ("n", Axis::N)])?;
                    continue;
                }
                _ => bail!(
                    "matmul: its tiling has no {name}; wanted block_m, block_n, tile_m, tile_n, tile_k, \
                     step_k_a, step_k_b, l1_buffers, l1_halves, l0_buffers, l0c_buffers, unit_flag, \
                     swizzle, swizzle_axis, num_cores or b_past_l2"
                ),
            };
            *field = number(name, value)?;
        }
        Ok(chosen)
    }
}

fn number(name: &str, value: &str) -> Result<u32> {
    value
        .parse()
        .ok()
        .with_context(|| format!("tiling: {name} = {value:?} is not a number from 0 to {}", u32::MAX))
}

fn one_of<T>(name: &str, value: &str, [a, b]: [(&str, T); 2]) -> Result<T> {
    if value == a.0 {
        return Ok(a.1);
    }
    if value == b.0 {
        return Ok(b.1);
    }
    bail!("tiling: {name} = {value:?} is not {} or {}", a.0, b.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use fastattention::{attention, DType, Soc};

    use super::*;

    #[test]
    fn what_plan_prints_is_taken_and_other_text_refused() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let plan = attention::plan(&attention::Problem::new(DType::F16, [1, 4096, 8, 128]), soc).unwrap();
        let other =
            Candidate { block_m: 16, block_n: 64, chunk_n: 64, num_stages: 2, preload: 1, bundle_steps: 1 };
        let fields = parse_fields(&plan.chosen().to_string()).unwrap();
        assert_eq!(fields.of_flash_fwd(other).unwrap(), plan.chosen());
        let one = parse_fields("block_m=32").unwrap();
        assert_eq!(one.of_flash_fwd(other).unwrap(), Candidate { block_m: 32, ..other });
        for text in ["", "block_m", "block_m=", "=3", "block_m=1,,", "block_m=1,block_m=1"] {
            assert!(parse_fields(text).is_err(), "{text}");
        }
        let error = |text: &str| parse_fields(text).unwrap().of_flash_fwd(other).unwrap_err().to_string();
        assert_eq!(error("block_m=-1"), "tiling: block_m = \"-1\" is not a number from 0 to 4294967295");
        assert!(error("tile_m=16").starts_with("flash_fwd: its tiling has no tile_m; wanted block_m, "));
    }

    #[test]
    fn every_field_of_a_product_can_be_given() {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let chosen = matmul::plan(&matmul::Problem::new(DType::F16, [512; 3]), soc).unwrap().tiling();
        let text =
            "block_m=1,block_n=2,tile_m=3,tile_n=4,tile_k=5,step_k_a=6,step_k_b=7,l1_buffers=8,\
                    l1_halves=operands,l0_buffers=9,l0c_buffers=10,unit_flag=on,swizzle=11,swizzle_axis=n,num_cores=12,b_past_l2=on";
        let wanted = matmul::Tiling {
            block: [1, 2],
            tile: [3, 4, 5],
            step_k: [6, 7],
            l1_buffers: 8,
            l1_halves: L1Halves::Operands,
            l0_buffers: 9,
            l0c_buffers: 10,
            unit_flag: true,
            swizzle: 11,
            swizzle_axis: Axis::N,
            num_cores: 12,
            b_past_l2: true,
        };
        assert_eq!(parse_fields(text).unwrap().of_matmul(chosen).unwrap(), wanted);
        let error = parse_fields("unit_flag=yes").unwrap().of_matmul(chosen).unwrap_err().to_string();
        assert_eq!(error, "tiling: unit_flag = \"yes\" is not on or off");
    }
}
