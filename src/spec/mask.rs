//! Which keys a query row sees.

use std::fmt;

/// Which keys a query row sees. With `diagonal = i + seqlen_k - seqlen_q` for row `i`: the last row sits on
/// the last key (bottom-right alignment).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
