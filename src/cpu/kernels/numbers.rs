//! Numbers that tokens have in device memory: places, positions, ids.

use ascend_sim::engine::Stopped;

use crate::cpu::call::{Call, Tensor};

/// Numbers of tokens, i32 or i64.
pub(super) struct Numbers {
    words: Tensor<i32>,
    words_of_one: u64,
    /// How many of them there are to name.
    count: u32,
}

impl Numbers {
    pub(super) fn new(
        call: &Call<'_>,
        name: &str,
        address: u64,
        [tokens, words, count]: [u32; 3],
    ) -> Result<Self, Stopped> {
        let words_of_one = u64::from(words);
        let words = call.tensor(name, address, Some(u64::from(tokens) * words_of_one))?;
        Ok(Self { words, words_of_one, count })
    }

    fn given(&self, token: u64) -> i64 {
        match self.words_of_one {
            2 => {
                i64::from(self.words.get(2 * token).cast_unsigned())
                    | i64::from(self.words.get(2 * token + 1)) << 32
            }
            _ => self.words.get(token).into(),
        }
    }

    pub(super) fn of(&self, token: u64) -> Option<u64> {
        u32::try_from(self.given(token)).ok().filter(|number| *number < self.count).map(u64::from)
    }

    /// How many tokens of a range have a wrong one, the first of them, and its number in two words. `none`
    /// is not wrong.
    pub(super) fn wrong(&self, tokens: std::ops::Range<u64>, none: Option<i64>) -> [i32; 4] {
        let mut wrong = tokens.filter(|token| self.of(*token).is_none() && Some(self.given(*token)) != none);
        let Some(first) = wrong.next() else { return [0; 4] };
        let [low, high] = bytemuck::cast::<[u8; 8], [i32; 2]>(self.given(first).to_le_bytes());
        let count = i32::try_from(1 + wrong.count()).unwrap_or(i32::MAX);
        [count, i32::try_from(first).unwrap_or(i32::MAX), low, high]
    }
}
