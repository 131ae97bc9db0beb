//! Tokens of text, by the crate `tokenizers`.

use std::fmt;
use std::sync::Arc;

use fastattention::{Error, ErrorKind, Result};

use super::markers::{Marker, Markers};
use crate::files::wrong;

/// A tokenizer, with the tokens that begin and end texts.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    markers: Arc<Markers>,
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
        let markers = Arc::new(Markers::new(&inner, "")?);
        let tokenizer = Self { inner: Arc::new(inner), markers, begin, adds_begin, ends };
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

    /// Tokens of a text, and those that a text begins with. Names of special tokens in it become these
    /// tokens: not for text of others that stands beside one's own.
    ///
    /// # Errors
    /// `InvalidArgument` for a text that the tokenizer has no tokens for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let failed = |e: tokenizers::Error| Error::invalid(format!("Tokenizer::encode: {e}"));
        let encoding = self.inner.encode_fast(text, true).map_err(failed)?;
        let begin = self.begin.filter(|_| self.adds_begin);
        Ok(begin.into_iter().chain(encoding.get_ids().iter().copied()).collect())
    }

    /// The same of a text in which names of special tokens are text like any other, and nothing in front.
    ///
    /// # Errors
    /// `InvalidArgument` for a text that the tokenizer has no tokens for.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        self.markers.encode(&self.inner, text, &[])
    }

    /// What a template with this source marks turns with.
    pub(super) fn markers(&self, source: &str) -> Result<Markers> {
        Markers::new(&self.inner, source)
    }

    /// Tokens of a prompt with these markers, behind one begin of a text if the model wants one.
    pub(super) fn encode_marked(&self, markers: &Markers, text: &str, at: &[Marker]) -> Result<Vec<u32>> {
        let tokens = markers.encode(&self.inner, text, at)?;
        let begin = self.begin.filter(|begin| self.adds_begin && tokens.first() != Some(begin));
        Ok(begin.into_iter().chain(tokens).collect())
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
