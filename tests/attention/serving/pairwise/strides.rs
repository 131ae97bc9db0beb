//! Tensors with gaps between their rows.

/// Elements behind each head, each row, each slot or page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    None,
    /// Nothing stays aligned.
    Odd,
    Aligned,
    /// As `Odd` and `Aligned`, but nothing behind each row of a head.
    OddOuter,
    AlignedOuter,
}

impl Gap {
    fn elements(self) -> [u64; 3] {
        match self {
            Gap::None => [0; 3],
            Gap::Odd => [3, 5, 7],
            Gap::Aligned => [0, 16, 64],
            Gap::OddOuter => [0, 5, 7],
            Gap::AlignedOuter => [0, 16, 64],
        }
    }

    pub(super) fn without_inner(self) -> Self {
        match self {
            Gap::Odd => Gap::OddOuter,
            Gap::Aligned => Gap::AlignedOuter,
            other => other,
        }
    }
}

/// Strides of `[slots, rows, heads, dim]`.
pub(super) fn of_rows(shape: [u32; 3], gap: Gap) -> [u64; 3] {
    of_cache(shape, false, gap)
}

/// Strides of `[pages, rows, heads, dim]`, or with heads before rows; both in the order pages, rows, heads.
pub(super) fn of_cache([rows, heads, dim]: [u32; 3], is_by_head: bool, gap: Gap) -> [u64; 3] {
    let [rows, heads, dim] = [rows, heads, dim].map(u64::from);
    let [of_inner, of_outer, of_page] = gap.elements();
    let inner = dim + of_inner;
    let (count, others) = if is_by_head { (rows, heads) } else { (heads, rows) };
    let outer = count * inner + of_outer;
    let page = others * outer + of_page;
    if is_by_head {
        [page, inner, outer]
    } else {
        [page, outer, inner]
    }
}

/// Where each row of `[outer, rows, heads]` starts, with one stride and with another.
pub(super) fn both_starts(
    [outer, rows, heads]: [u64; 3],
    from: [u64; 3],
    to: [u64; 3],
) -> impl Iterator<Item = [usize; 2]> {
    let at = move |stride: [u64; 3], [a, b, c]: [u64; 3]| {
        usize::try_from(a * stride[0] + b * stride[1] + c * stride[2]).expect("test tensors are small")
    };
    let all = (0..outer).flat_map(move |a| (0..rows).flat_map(move |b| (0..heads).map(move |c| [a, b, c])));
    all.map(move |index| [at(from, index), at(to, index)])
}
