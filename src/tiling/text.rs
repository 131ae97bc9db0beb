//! Plans of attention as JSON.

use serde::{Deserialize, Serialize};

use super::{plan, plan_with, Candidate, FlashFwdPlan};
use crate::record::{self, Recorded, Value};
use crate::spec::Shape;
use crate::{Error, Result, Soc};

record::json_of!(FlashFwdPlan);

/// What a caller may choose.
#[derive(Serialize, Deserialize)]
struct Choice {
    candidate: Candidate,
    /// The first work item and the one behind the last.
    items: [u64; 2],
    /// Into how many parts an item of the last round is cut: 1, or what the planner says.
    tail_parts: u32,
}

/// That, and what follows from it.
#[derive(Serialize)]
pub(crate) struct Chosen {
    #[serde(flatten)]
    choice: Choice,
    num_cores: u32,
    workspace_bytes: u64,
}

impl Recorded for FlashFwdPlan {
    const OPERATOR: &'static str = "attention";
    type Problem = Shape;
    type Chosen = Chosen;

    fn problem(&self) -> &Shape {
        self.shape()
    }

    fn soc(&self) -> &Soc {
        self.soc()
    }

    fn chosen(&self) -> Result<Chosen> {
        let order = &self.tiling.order;
        let first = u64::from(order.first_item);
        let items = [first, first + self.num_items()];
        Ok(Chosen {
            choice: Choice { candidate: self.chosen(), items, tail_parts: order.tail_parts },
            num_cores: self.num_cores(),
            workspace_bytes: self.workspace_bytes(),
        })
    }

    /// With the tiling of the text, which may be one that was tuned or given, and its part of the items.
    fn plan(shape: &Shape, chosen: Option<&Value>, soc: &Soc) -> Result<Self> {
        let refusal = |why: String| Error::invalid(format!("attention plan as JSON: chosen{why}"));
        let chosen = chosen.ok_or_else(|| refusal(" is missing".to_owned()))?;
        let Choice { candidate, items: [start, end], tail_parts } =
            Choice::deserialize(chosen).map_err(|e| refusal(format!(": {e}")))?;
        let mut planned = plan(shape, soc)?;
        if planned.chosen() != candidate {
            planned = plan_with(shape, soc, candidate)?;
        }
        if (start..end) != (0..planned.num_items()) {
            planned = planned.part(start..end)?;
        }
        Ok(if tail_parts == 1 { planned.with_whole_items() } else { planned })
    }
}
