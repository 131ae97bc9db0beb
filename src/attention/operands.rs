//! Checks of what a launch is given, against its plan.

use super::{Operand, Plan};
use crate::{Error, Result};

/// What is given for one operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) offset_bytes: u64,
    /// Bytes from the start of the buffer.
    pub(super) len_bytes: u64,
}

/// What a launch is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllGiven {
    pub(super) q: Given,
    pub(super) k: Given,
    pub(super) v: Given,
    pub(super) o: Given,
    pub(super) lse: Option<Given>,
    pub(super) workspace: Given,
}

/// The kernel addresses S, P and O in the workspace in whole 512-byte lines: GM serialises cores that share one
/// (dav-c220.md §1.6), and buffers of the driver start on one anyway.
pub(crate) const WORKSPACE_ALIGNMENT: u64 = 512;

impl Given {
    /// What is wrong with it for an operand of `needed` bytes at that alignment.
    fn wrong(self, name: &str, needed: u64, alignment: u64) -> Vec<String> {
        let Given { offset_bytes, len_bytes } = self;
        let mut wrong = Vec::new();
        if offset_bytes % alignment != 0 {
            wrong.push(format!("{name} starts at byte {offset_bytes}, a multiple of {alignment} wanted"));
        }
        let behind = len_bytes.saturating_sub(offset_bytes);
        if behind < needed {
            let from = if offset_bytes > 0 { format!(" from byte {offset_bytes}") } else { String::new() };
            wrong.push(format!("{name} has {behind} bytes{from}, the plan needs {needed}"));
        }
        wrong
    }
}

impl From<Operand<'_>> for Given {
    fn from(operand: Operand<'_>) -> Self {
        Self { offset_bytes: operand.offset_bytes as u64, len_bytes: operand.buffer.len_bytes() as u64 }
    }
}

/// Refuses operands, each with its name, the bytes that it needs and its alignment; one error names all that is wrong.
pub(crate) fn refuse(what: &str, operands: &[(&str, Operand<'_>, u64, u64)]) -> Result<()> {
    let wrong: Vec<_> = operands
        .iter()
        .flat_map(|&(name, operand, needed, alignment)| Given::from(operand).wrong(name, needed, alignment))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("{what}: {}", wrong.join("; "))))
}

impl AllGiven {
    /// Whether every operand is there, aligned and large enough; one error names all that are not.
    pub(super) fn check(&self, plan: &Plan) -> Result<()> {
        let [q, k, v, o, lse] = plan.shape().operand_bytes();
        let element = plan.shape().dtype.size_bytes() as u64;
        let want_lse = plan.shape().want_lse;
        let mut wrong = Vec::new();
        let mut check = |name: &str, given: Given, needed: u64, alignment: u64| {
            wrong.extend(given.wrong(name, needed, alignment));
        };
        check("q", self.q, q, element);
        check("k", self.k, k, element);
        check("v", self.v, v, element);
        check("o", self.o, o, element);
        if let Some(given) = self.lse {
            check("lse", given, lse, 4);
        }
        check("workspace", self.workspace, plan.workspace_bytes(), WORKSPACE_ALIGNMENT);
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

    fn bytes(len_bytes: u64) -> Given {
        Given { offset_bytes: 0, len_bytes }
    }

    fn exact(plan: &Plan) -> AllGiven {
        let [q, k, v, o, lse] = plan.shape().operand_bytes();
        AllGiven {
            q: bytes(q),
            k: bytes(k),
            v: bytes(v),
            o: bytes(o),
            lse: plan.shape().want_lse.then_some(bytes(lse)),
            workspace: bytes(plan.workspace_bytes()),
        }
    }

    fn plan_with_lse() -> Plan {
        let problem = Problem::new(DType::F16, [1, 100, 2, 64]).with_seqlen_k(50).with_lse();
        plan(&problem, Soc::by_name("Ascend910B2").unwrap()).unwrap()
    }

    #[track_caller]
    fn refuses(plan: &Plan, given: AllGiven, text: &str) {
        assert_eq!(given.check(plan).unwrap_err().to_string(), format!("attention launch: {text}"));
    }

    #[test]
    fn every_short_buffer_is_named() {
        let plan = plan_with_lse();
        let exact = exact(&plan);
        assert!(exact.check(&plan).is_ok());
        let needed = plan.workspace_bytes();
        for (given, text) in [
            (AllGiven { q: bytes(25599), ..exact }, "q has 25599 bytes, the plan needs 25600"),
            (AllGiven { k: bytes(0), ..exact }, "k has 0 bytes, the plan needs 12800"),
            (AllGiven { v: bytes(12798), ..exact }, "v has 12798 bytes, the plan needs 12800"),
            (AllGiven { o: bytes(1), ..exact }, "o has 1 bytes, the plan needs 25600"),
            (AllGiven { lse: Some(bytes(799)), ..exact }, "lse has 799 bytes, the plan needs 800"),
            (AllGiven { lse: None, ..exact }, "lse is missing, but the plan writes it"),
            (
                AllGiven { workspace: bytes(1), ..exact },
                &*format!("workspace has 1 bytes, the plan needs {needed}"),
            ),
            (
                AllGiven { q: bytes(0), o: bytes(0), ..exact },
                "q has 0 bytes, the plan needs 25600; o has 0 bytes, the plan needs 25600",
            ),
        ] {
            refuses(&plan, given, text);
        }
    }

    #[test]
    fn offsets_count() {
        let plan = plan_with_lse();
        let exact = exact(&plan);
        let at = |offset_bytes, len_bytes| Given { offset_bytes, len_bytes };
        assert!(AllGiven { q: at(2, 25602), ..exact }.check(&plan).is_ok());
        let short = AllGiven { k: at(64, 12800), ..exact };
        refuses(&plan, short, "k has 12736 bytes from byte 64, the plan needs 12800");
        let outside = AllGiven { v: at(20000, 12800), ..exact };
        refuses(&plan, outside, "v has 0 bytes from byte 20000, the plan needs 12800");
        let odd = AllGiven { o: at(3, 30000), ..exact };
        refuses(&plan, odd, "o starts at byte 3, a multiple of 2 wanted");
        let half = AllGiven { lse: Some(at(2, 30000)), ..exact };
        refuses(&plan, half, "lse starts at byte 2, a multiple of 4 wanted");
        let shifted = AllGiven { workspace: at(256, 1 << 40), ..exact };
        refuses(&plan, shifted, "workspace starts at byte 256, a multiple of 512 wanted");
    }

    #[test]
    fn lse_is_not_accepted_and_ignored() {
        let problem = Problem::new(DType::F16, [1, 100, 2, 64]);
        let plan = plan(&problem, Soc::by_name("Ascend910B2").unwrap()).unwrap();
        let given = AllGiven { lse: Some(bytes(1 << 20)), ..exact(&plan) };
        refuses(&plan, given, "lse is given, but the plan does not write it");
    }
}
