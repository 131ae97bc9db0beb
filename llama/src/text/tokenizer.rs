//! Tokens of text, by the crate `tokenizers`.

use std::fmt;

use fastattention::{Error, ErrorKind, Result};

use crate::files::wrong;

/// A tokenizer, with the tokens that begin and end texts.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Names the begin of a text.
    begin: Option<u32>,
    /// Is it put in front of every text? The post-processor of a `tokenizer.json` may do so, too.
    adds_begin: bool,
    ends: Vec<u32>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Tokenizer");
        out.field("size", &self.size()).field("begin", &self.begin).field("ends", &self.ends).finish()
    }
}

impl Tokenizer {
    /// Of the text of a `tokenizer.json`, with the token that begins a text, and those that end an answer.
    pub(crate) fn new(json: &[u8], begin: Option<u32>, adds_begin: bool, ends: Vec<u32>) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_bytes(json).map_err(|e| wrong(format!("tokenizer: {e}")))?;
        let tokenizer = Self { inner, begin, adds_begin, ends };
        let named = tokenizer.begin.iter().chain(&tokenizer.ends);
        for id in named {
            if tokenizer.inner.id_to_token(*id).is_none() {
                return Err(wrong(format!("tokenizer: special token {id}: one that it has wanted")));
            }
        }
        Ok(tokenizer)
    }

    /// One more than the largest token.
    pub fn size(&self) -> usize {
        let largest = self.inner.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// Tokens of a text. Names of special tokens in it become these tokens.
    ///
    /// # Errors
    /// `InvalidArgument` for a text that the tokenizer has no tokens for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let failed = |e: tokenizers::Error| Error::invalid(format!("Tokenizer::encode: {e}"));
        let encoding = self.inner.encode_fast(text, true).map_err(failed)?;
        let begin = self.begin.filter(|_| self.adds_begin);
        Ok(begin.into_iter().chain(encoding.get_ids().iter().copied()).collect())
    }

    /// The text of tokens, without special ones. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// `InvalidArgument` for tokens that cannot be decoded.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let failed = |e: tokenizers::Error| Error::invalid(format!("Tokenizer::decode: {e}"));
        self.inner.decode(tokens, true).map_err(failed)
    }

    /// Tokens that end an answer.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The name of the token that begins a text.
    pub(super) fn begin_name(&self) -> Option<String> {
        self.begin.and_then(|id| self.inner.id_to_token(id))
    }

    /// The name of the first token that ends an answer.
    pub(super) fn end_name(&self) -> Option<String> {
        self.ends.first().and_then(|id| self.inner.id_to_token(*id))
    }

    /// The token of this name.
    ///
    /// # Errors
    /// `Unsupported` when there is none.
    pub fn token(&self, name: &str) -> Result<u32> {
        let found = self.inner.token_to_id(name);
        found.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("tokenizer: there is no token {name:?}"))
        })
    }
}
