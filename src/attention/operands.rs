//! Checks of what a launch is given, against its plan.

use super::Plan;
use crate::{Error, Result};

/// Sizes in bytes of the buffers given to a launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) q: u64,
    pub(super) k: u64,
    pub(super) v: u64,
    pub(super) o: u64,
    pub(super) lse: Option<u64>,
    pub(super) workspace: u64,
}

impl Given {
    /// Whether every buffer is there and large enough; one error names all that are not.
    pub(super) fn check(&self, plan: &Plan) -> Result<()> {
        let [q, k, v, o, lse] = plan.shape().operand_bytes();
        let want_lse = plan.shape().want_lse;
        let mut wrong = Vec::new();
        let sizes = [
            ("q", self.q, q),
            ("k", self.k, k),
            ("v", self.v, v),
            ("o", self.o, o),
            ("lse", self.lse.unwrap_or(lse), lse),
            ("workspace", self.workspace, plan.workspace_bytes()),
        ];
        for (name, given, needed) in sizes {
            if given < needed {
                wrong.push(format!("{name} has {given} bytes, the plan needs {needed}"));
            }
        }
        match self.lse {
            None if want_lse => wrong.push("lse is missing, but the plan writes it".to_owned()),
            Some(_) if !want_lse => wrong.push("lse is given, but the plan does not write it".to_owned()),
            _ => {}
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("attention launch: {}", wrong.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{plan, Problem};
    use super::*;
    use crate::{DType, Soc};

    fn exact(plan: &Plan) -> Given {
        let [q, k, v, o, lse] = plan.shape().operand_bytes();
        let lse = plan.shape().want_lse.then_some(lse);
        Given { q, k, v, o, lse, workspace: plan.workspace_bytes() }
    }

    #[test]
    fn every_short_buffer_is_named() {
        let problem = Problem::new(DType::F16, [1, 100, 2, 64]).with_seqlen_k(50).with_lse();
        let plan = plan(&problem, Soc::by_name("Ascend910B2").unwrap()).unwrap();
        let exact = exact(&plan);
        assert!(exact.check(&plan).is_ok());
        let needed = plan.workspace_bytes();
        for (given, text) in [
            (Given { q: 25599, ..exact }, "q has 25599 bytes, the plan needs 25600"),
            (Given { k: 0, ..exact }, "k has 0 bytes, the plan needs 12800"),
            (Given { v: 12798, ..exact }, "v has 12798 bytes, the plan needs 12800"),
            (Given { o: 1, ..exact }, "o has 1 bytes, the plan needs 25600"),
            (Given { lse: Some(799), ..exact }, "lse has 799 bytes, the plan needs 800"),
            (Given { lse: None, ..exact }, "lse is missing, but the plan writes it"),
            (Given { workspace: 0, ..exact }, &*format!("workspace has 0 bytes, the plan needs {needed}")),
            (
                Given { q: 0, o: 0, ..exact },
                "q has 0 bytes, the plan needs 25600; o has 0 bytes, the plan needs 25600",
            ),
        ] {
            assert_eq!(given.check(&plan).unwrap_err().to_string(), format!("attention launch: {text}"));
        }
    }

    #[test]
    fn lse_is_not_accepted_and_ignored() {
        let problem = Problem::new(DType::F16, [1, 100, 2, 64]);
        let plan = plan(&problem, Soc::by_name("Ascend910B2").unwrap()).unwrap();
        let given = Given { lse: Some(1 << 20), ..exact(&plan) };
        assert_eq!(
            given.check(&plan).unwrap_err().to_string(),
            "attention launch: lse is given, but the plan does not write it"
        );
    }
}
