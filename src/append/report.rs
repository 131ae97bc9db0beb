//! What a checked launch says about places and positions.

use std::fmt;

use crate::{Error, Result};

/// 32-bit words of `status` for each vector core. Of the places of its tokens: how many are wrong, first
/// token that has a wrong one, low and high word of that. The same of positions.
pub const STATUS_WORDS: usize = 8;

/// What a token has a number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Number {
    /// Where its key and value go.
    Place,
    /// By what its key and query are rotated.
    Position,
    /// Which row of an embedding it has.
    Id,
}

/// A token whose place the cache does not have, or whose position or id the table does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The token.
    pub token: usize,
    /// Which of its numbers is wrong.
    pub number: Number,
    /// That number.
    pub given: i64,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self.number {
            Number::Place => "place",
            Number::Position => "position",
            Number::Id => "id",
        };
        write!(f, "token {} has {number} {}", self.token, self.given)
    }
}

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Wrong numbers.
    pub num_wrong: u64,
    /// The first of each vector core, by token; of those with both, the place first. Empty when nothing is
    /// wrong.
    pub mistakes: Vec<Mistake>,
}

impl Report {
    /// Reads what a launch has left in `status`.
    ///
    /// # Errors
    /// `InvalidArgument` for words that no launch leaves.
    pub fn from_words(words: &[i32]) -> Result<Self> {
        Self::read("append report", words, &[Number::Place, Number::Position])
    }

    /// Reads four words of each core for each kind of numbers; the rest of its words is 0.
    pub(crate) fn read(what: &str, words: &[i32], numbers: &[Number]) -> Result<Self> {
        let mut report = Self::default();
        let (cores, rest) = words.as_chunks::<STATUS_WORDS>();
        for (core, own) in cores.iter().enumerate() {
            let (kinds, _) = own.as_chunks::<4>();
            let told = kinds.iter().zip(numbers);
            let is_good = told.fold(true, |is_good, (words, number)| report.add(*number, *words) && is_good);
            if !is_good || kinds.iter().skip(numbers.len()).any(|words| *words != [0; 4]) {
                return Err(Error::invalid(format!(
                    "{what}: core {core} has {own:?}, what a launch has left in `status` wanted"
                )));
            }
        }
        if !rest.is_empty() {
            return Err(Error::invalid(format!(
                "{what}: {} words given, a multiple of {STATUS_WORDS} wanted",
                words.len()
            )));
        }
        report.mistakes.sort_by_key(|mistake| mistake.token);
        Ok(report)
    }

    /// Adds what a core says of one kind; false if that cannot be.
    fn add(&mut self, number: Number, [num_wrong, token, low, high]: [i32; 4]) -> bool {
        let is_clean = num_wrong != 0 || [token, low, high] == [0; 3];
        let (Ok(num_wrong), Ok(token), true) = (u64::try_from(num_wrong), usize::try_from(token), is_clean)
        else {
            return false;
        };
        if num_wrong > 0 {
            let given = i64::from(high) << 32 | i64::from(low.cast_unsigned());
            self.num_wrong += num_wrong;
            self.mistakes.push(Mistake { token, number, given });
        }
        true
    }
}
