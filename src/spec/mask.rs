//! Which keys a query row sees.

use serde::{Deserialize, Serialize};

use std::fmt;

/// Which keys a query row sees. With `diagonal = i + seqlen_k - seqlen_q` for row `i`: the last row sits on
/// the last key (bottom-right alignment).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mask {
    /// Every key.
    #[default]
    None,
    /// Keys `j <= diagonal`.
    Causal,
    /// Keys `diagonal - left <= j <= diagonal + right`; `None` is unlimited.
    Window {
        /// Keys to the left of the diagonal.
        left: Option<u32>,
        /// Keys to the right of the diagonal.
        right: Option<u32>,
    },
}

impl Mask {
    /// The distances from the diagonal that hide a key of `seqlen_k` from a row of `seqlen_q`: left, right.
    pub(crate) fn limits(self, seqlen_q: u32, seqlen_k: u32) -> (Option<u32>, Option<u32>) {
        let (left, right) = match self {
            Mask::None => (None, None),
            Mask::Causal => (None, Some(0)),
            Mask::Window { left, right } => (left, right),
        };
        let binds = |limit: &u32, len: u32| u64::from(*limit) + 1 < u64::from(len);
        (left.filter(|l| binds(l, seqlen_k)), right.filter(|r| binds(r, seqlen_q)))
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = |limit: &Option<u32>| limit.map_or("all".to_owned(), |limit| limit.to_string());
        match self {
            Mask::None => f.write_str("none"),
            Mask::Causal => f.write_str("causal"),
            Mask::Window { left, right } => write!(f, "window(left {}, right {})", limit(left), limit(right)),
        }
    }
}
