//! How the rows of a merge lie: along three dimensions, of which those that lie as one are taken as one.

use super::Problem;
use crate::spec::Reason;

/// Rows along one dimension, or along several that lie as one; strides of o and lse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) extent: u32,
    /// Of a part of each source.
    pub(super) sources: Vec<[u64; 2]>,
    /// Of the result.
    pub(super) out: [u64; 2],
}

/// Two outer axes, and the inner one along which every lse is dense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axes {
    pub(super) outer: [Axis; 2],
    pub(super) inner: Axis,
}

impl Axis {
    /// One row.
    fn one(sources: usize) -> Self {
        Self { extent: 1, sources: vec![[0, 1]; sources], out: [0, 1] }
    }

    fn strides(&self) -> impl Iterator<Item = u64> + '_ {
        self.sources.iter().chain([&self.out]).flatten().copied()
    }

    fn has_dense_lse(&self) -> bool {
        self.sources.iter().chain([&self.out]).all(|[_, lse]| *lse == 1)
    }

    /// Both axes as one, where `self` begins again whenever `inner` ends, in all tensors.
    fn joined_with(&self, inner: &Axis) -> Option<Axis> {
        let extent = self.extent.checked_mul(inner.extent).filter(|e| *e <= i32::MAX.cast_unsigned())?;
        let mut pairs = self.strides().zip(inner.strides());
        let is_one = pairs.all(|(outer, step)| Some(outer) == step.checked_mul(inner.extent.into()));
        is_one.then(|| Axis { extent, ..inner.clone() })
    }
}

impl Axes {
    /// The axes of a problem that has rows.
    ///
    /// # Errors
    /// Three dimensions that do not lie as one, none of them with lse of stride 1 everywhere.
    pub(super) fn of(problem: &Problem) -> Result<Self, Reason> {
        let [o, lse] = problem.strides();
        let sources: Vec<_> = problem.sources.iter().map(|source| problem.source_strides(source)).collect();
        let axis = |(i, extent): (usize, u32)| Axis {
            extent,
            sources: sources.iter().map(|[o, lse]| [o[i + 1], lse[i + 1]]).collect(),
            out: [o[i], lse[i]],
        };
        let all = problem.extent().into_iter().enumerate().map(axis);
        let mut axes: Vec<Axis> = all.filter(|axis| axis.extent > 1).collect();
        while let Some((outer, inner, joined)) = joined(&axes) {
            axes[outer] = joined;
            axes.remove(inner);
        }
        let one = || Axis::one(problem.sources.len());
        let inner = match axes.iter().position(Axis::has_dense_lse) {
            Some(at) => axes.remove(at),
            None if axes.len() < 3 => one(),
            None => {
                let parts: Vec<_> = sources.iter().map(|[_, lse]| &lse[1..]).collect();
                return Err(Reason::unsupported(format!(
                    "lse_parts_stride = {parts:?}, lse_stride = {lse:?} (batch, row, head): no dimension has stride 1 in all \
                     of them; wanted rows, heads or batches that follow each other"
                )));
            }
        };
        let mut rest = axes.into_iter();
        Ok(Self { outer: [rest.next().unwrap_or_else(one), rest.next().unwrap_or_else(one)], inner })
    }
}

/// Two axes that lie as one: the outer one, the inner one, and both together.
fn joined(axes: &[Axis]) -> Option<(usize, usize, Axis)> {
    let mut pairs =
        (0..axes.len()).flat_map(|i| (0..axes.len()).map(move |j| (i, j))).filter(|(i, j)| i != j);
    pairs.find_map(|(i, j)| Some((i, j, axes[i].joined_with(&axes[j])?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;
    use crate::merge::Source;
    use crate::DType;

    fn extents(problem: &Problem) -> ([u32; 2], u32) {
        let Axes { outer: [a, b], inner } = Axes::of(problem).unwrap();
        ([a.extent, b.extent], inner.extent)
    }

    #[test]
    fn axes_that_lie_as_one_are_one() {
        let dense = |shape| Problem::new(DType::F16, 2, shape);
        assert_eq!(extents(&dense([3, 5, 7, 16])), ([3, 7], 5), "lse has heads before rows");
        // One row of each sequence, as in decoding: lse of all heads and batches follows itself.
        assert_eq!(extents(&dense([3, 1, 7, 16])), ([1, 1], 21));
        assert_eq!(extents(&dense([1, 1, 1, 16])), ([1, 1], 1));
        // lse with rows before heads.
        let (o, lse) = ([5 * 7 * 16, 7 * 16, 16], [35, 7, 1]);
        let tokens = Source::new(2).with_lse_stride([105, 35, 7, 1]);
        assert_eq!(extents(&dense([3, 5, 7, 16]).with_sources([tokens]).with_strides(o, lse)), ([1, 1], 105));
        // A prefix that all sequences share has lse [num_heads, batch * seqlen].
        let prefix = Source::new(1).with_lse_stride([0, 5, 1, 15]);
        assert_eq!(extents(&dense([3, 5, 7, 16]).with_sources([prefix, Source::new(1)])), ([3, 7], 5));
        let prefix = Source::new(1).with_lse_stride([0, 1, 1, 3]);
        assert_eq!(extents(&dense([3, 1, 7, 16]).with_sources([prefix, Source::new(1)])), ([3, 7], 1));
    }

    #[test]
    fn three_dimensions_of_which_none_is_dense_are_refused() {
        let source = Source::new(1).with_lse_stride([0, 80, 15, 2]);
        let problem = Problem::new(DType::F16, 1, [3, 5, 7, 16]).with_sources([source]);
        let reason = Axes::of(&problem).unwrap_err();
        assert!(reason.text.contains("no dimension has stride 1 in all of them"), "{reason:?}");
    }
}
