//! What a checked launch says about places.

use std::fmt;

use crate::{Error, Result};

/// 32-bit words of `status` for each vector core: wrong places of its tokens, first token that has one, low
/// and high word of that place, four zeros.
pub const STATUS_WORDS: usize = 8;

/// A token whose place the cache does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The token.
    pub token: usize,
    /// Its place.
    pub given: i64,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {} has place {}", self.token, self.given)
    }
}

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tokens whose place the cache does not have.
    pub num_wrong: u64,
    /// The first of each vector core, by token; empty when nothing is wrong.
    pub mistakes: Vec<Mistake>,
}

impl Report {
    /// Reads what a launch has left in `status`.
    ///
    /// # Errors
    /// `InvalidArgument` for words that no launch leaves.
    pub fn from_words(words: &[i32]) -> Result<Self> {
        let mut report = Self::default();
        let (cores, rest) = words.as_chunks::<STATUS_WORDS>();
        for (core, &[num_wrong, token, low, high, zeros @ ..]) in cores.iter().enumerate() {
            let is_clean = num_wrong != 0 || [token, low, high] == [0; 3];
            let numbers = (u64::try_from(num_wrong), usize::try_from(token));
            let (Ok(num_wrong), Ok(token), true, [0, 0, 0, 0]) = (numbers.0, numbers.1, is_clean, zeros)
            else {
                return Err(Error::invalid(format!(
                    "append report: core {core} has {:?}, what a launch has left in `status` wanted",
                    cores[core]
                )));
            };
            if num_wrong > 0 {
                let given = i64::from(high) << 32 | i64::from(low.cast_unsigned());
                report.num_wrong += num_wrong;
                report.mistakes.push(Mistake { token, given });
            }
        }
        if !rest.is_empty() {
            return Err(Error::invalid(format!(
                "append report: {} words given, a multiple of {STATUS_WORDS} wanted",
                words.len()
            )));
        }
        Ok(report)
    }
}
