//! Whether operands fit a memory together.

/// Bytes of an operand: those from its first to its last, and those of them that it uses. Between its rows
/// others may lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) span: u128,
    pub(crate) used: u128,
}

/// What each operand takes, when that is more than `available` bytes.
///
/// Slices of one tensor, as q, k, v and o packed in rows, span each other. So the bytes that they use are
/// added up, unless one spans too much alone: then the spans are told.
pub(crate) fn too_many_bytes<const N: usize>(operands: [Footprint; N], available: u64) -> Option<[u128; N]> {
    let available = u128::from(available);
    let spans = operands.map(|o| o.span);
    if spans.iter().any(|&span| span > available) {
        return Some(spans);
    }
    let used = operands.map(|o| o.used.min(o.span));
    (used.iter().sum::<u128>() > available).then_some(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_one_tensor_count_once() {
        let slice = Footprint { span: 90, used: 25 };
        assert_eq!(too_many_bytes([slice; 4], 100), None);
        assert_eq!(too_many_bytes([slice; 4], 99), Some([25; 4]));
        assert_eq!(too_many_bytes([slice; 4], 89), Some([90; 4]));
        // Rows that lie on each other use no more than they span.
        assert_eq!(too_many_bytes([Footprint { span: 10, used: 1000 }], 10), None);
    }
}
