//! The operands of an attention launch, as its plan wants them.

use super::{Args, Plan};
use crate::runtime::{refuse_with, MemoryRange, Named, NamedList, Operand};
use crate::spec::Shape;
use crate::Result;

/// The kernel addresses S, P and O in the workspace in whole 512-byte lines: GM serialises cores that share
/// one (dav-c220.md §1.6). Counted from the start of the buffer, which the driver promises to align to 64
/// bytes only (acl-runtime.md §1.6): on such a buffer the kernel is slower, not wrong.
pub(crate) const WORKSPACE_ALIGNMENT: u64 = 512;

/// Where the operands of a launch lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    q: MemoryRange,
    k: MemoryRange,
    v: MemoryRange,
    mask: MemoryRange,
    o: MemoryRange,
    lse: Option<MemoryRange>,
    workspace: MemoryRange,
}

impl Places {
    pub(super) fn new(args: &Args<'_>, mask: Operand<'_>) -> Self {
        Self {
            q: args.q.into(),
            k: args.k.into(),
            v: args.v.into(),
            mask: mask.into(),
            o: args.o.into(),
            lse: args.lse.map(MemoryRange::from),
            workspace: args.workspace.into(),
        }
    }

    /// The operands with their names.
    pub(crate) fn named(&self, plan: &Plan) -> NamedList {
        let shape = plan.shape();
        let [.., lse] = shape.operand_bytes();
        let mut operands = NamedList::from_iter(tensors(shape, [self.q, self.k, self.v, self.o]));
        operands.extend(self.lse.map(|place| Named::written("lse", place, lse, 4)));
        let workspace = plan.workspace_bytes();
        operands.push(Named::written("workspace", self.workspace, workspace, WORKSPACE_ALIGNMENT));
        let element = shape.dtype.size_bytes() as u64;
        operands.push(Named::read("the operator's mask", self.mask, self.mask.len_bytes, element));
        operands
    }

    /// Whether every operand is there, aligned, large enough and apart from those that are written; one error
    /// names all that is wrong.
    pub(super) fn check(&self, plan: &Plan) -> Result<()> {
        let found = written_given("lse", self.lse.is_some(), plan.shape().want_lse).into_iter().collect();
        refuse_with("attention launch", &self.named(plan), found)
    }
}

/// What is wrong when an output is not given exactly when it is written.
pub(crate) fn written_given(name: &str, is_given: bool, is_written: bool) -> Option<String> {
    given(name, is_given, is_written, ["the plan writes it", "the plan does not write it"])
}

/// What is wrong when an operand is not given exactly when it is wanted; why it is wanted, and why not.
pub(crate) fn given(name: &str, is_given: bool, is_wanted: bool, [so, not]: [&str; 2]) -> Option<String> {
    match (is_given, is_wanted) {
        (false, true) => Some(format!("{name} is missing, but {so}")),
        (true, false) => Some(format!("{name} is given, but {not}")),
        _ => None,
    }
}

/// q, k, v and o of a shape.
pub(crate) fn tensors(s: &Shape, [q, k, v, o]: [impl Into<MemoryRange>; 4]) -> [Named; 4] {
    let [q_bytes, k_bytes, v_bytes, o_bytes, _] = s.operand_bytes();
    let [q_tensor, k_tensor, v_tensor, o_tensor] = s.tensors();
    [
        Named::tensor(&q_tensor, q, q_bytes),
        Named::tensor(&k_tensor, k, k_bytes),
        Named::tensor(&v_tensor, v, v_bytes),
        Named::tensor(&o_tensor, o, o_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{plan, Problem};
    use super::*;
    use crate::{DType, Soc};

    /// `len_bytes` bytes, of a buffer of its own for every `number`.
    fn bytes(number: u64, len_bytes: u64) -> MemoryRange {
        MemoryRange { address: number << 32, offset_bytes: 0, len_bytes }
    }

    fn exact(plan: &Plan) -> Places {
        let [q, k, v, o, lse] = plan.shape().operand_bytes();
        Places {
            q: bytes(1, q),
            k: bytes(2, k),
            v: bytes(3, v),
            mask: bytes(4, 1 << 19),
            o: bytes(5, o),
            lse: plan.shape().want_lse.then_some(bytes(6, lse)),
            workspace: bytes(7, plan.workspace_bytes()),
        }
    }

    fn plan_with_lse() -> Plan {
        let problem = Problem::new(DType::F16, [1, 100, 2, 64]).with_seqlen_k(50).with_lse();
        plan(&problem, Soc::by_name("Ascend910B2").unwrap()).unwrap()
    }

    #[track_caller]
    fn refuses(plan: &Plan, given: Places, text: &str) {
        assert_eq!(given.check(plan).unwrap_err().to_string(), format!("attention launch: {text}"));
    }

    #[test]
    fn every_short_buffer_is_named() {
        let plan = plan_with_lse();
        let exact = exact(&plan);
        assert!(exact.check(&plan).is_ok());
        let needed = plan.workspace_bytes();
        for (given, text) in [
            (Places { q: bytes(1, 25599), ..exact }, "q has 25599 bytes, the plan needs 25600"),
            (Places { k: bytes(2, 0), ..exact }, "k has 0 bytes, the plan needs 12800"),
            (Places { v: bytes(3, 12798), ..exact }, "v has 12798 bytes, the plan needs 12800"),
            (Places { o: bytes(5, 1), ..exact }, "o has 1 bytes, the plan needs 25600"),
            (Places { lse: Some(bytes(6, 799)), ..exact }, "lse has 799 bytes, the plan needs 800"),
            (Places { lse: None, ..exact }, "lse is missing, but the plan writes it"),
            (
                Places { workspace: bytes(7, 1), ..exact },
                &*format!("workspace has 1 bytes, the plan needs {needed}"),
            ),
            (
                Places { q: bytes(1, 0), o: bytes(5, 0), ..exact },
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
        let at = |offset_bytes, len_bytes| MemoryRange { address: 8 << 32, offset_bytes, len_bytes };
        assert!(Places { q: at(2, 25602), ..exact }.check(&plan).is_ok());
        let short = Places { k: at(64, 12800), ..exact };
        refuses(&plan, short, "k has 12736 bytes from byte 64, the plan needs 12800");
        let outside = Places { v: at(20000, 12800), ..exact };
        refuses(&plan, outside, "v has 0 bytes from byte 20000, the plan needs 12800");
        let odd = Places { o: at(3, 30000), ..exact };
        refuses(&plan, odd, "o starts at byte 3, a multiple of 2 wanted");
        let half = Places { lse: Some(at(2, 30000)), ..exact };
        refuses(&plan, half, "lse starts at byte 2, a multiple of 4 wanted");
        let shifted = Places { workspace: at(256, 1 << 40), ..exact };
        refuses(&plan, shifted, "workspace starts at byte 256, a multiple of 512 wanted");
    }

    #[test]
    fn lse_is_not_accepted_and_ignored() {
        let problem = Problem::new(DType::F16, [1, 100, 2, 64]);
        let plan = plan(&problem, Soc::by_name("Ascend910B2").unwrap()).unwrap();
        let given = Places { lse: Some(bytes(6, 1 << 20)), ..exact(&plan) };
        refuses(&plan, given, "lse is given, but the plan does not write it");
    }
}
