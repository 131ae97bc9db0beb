//! Special tokens in text: where they stand, and text in which their names mean nothing.
//!
//! The name of a special token in a message must not become that token: whoever writes the message could
//! write turns of others. What a template writes itself has to.

use std::collections::HashSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use fastattention::{Error, Result};
use tokenizers::{
    AddedToken, AddedVocabulary, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, Split, Token,
};

use crate::files::wrong;

/// Where a special token stands in a text, and the token.
pub(super) type Marker = (Range<usize>, u32);

/// The names that text of others must not have as tokens.
#[derive(Clone, Debug)]
pub(super) struct Markers {
    /// Of two characters at least.
    names: Vec<(u32, AddedToken)>,
    finder: AhoCorasick,
    /// Added tokens, of which those above are not found.
    plain: AddedVocabulary,
    first: HashSet<char>,
    last: HashSet<char>,
}

impl Markers {
    /// All special tokens, and what else has its name in the source of a template. Added tokens that are no
    /// special ones are words of a text (as runs of spaces are), unless a template marks something by them.
    pub(super) fn new(tokenizer: &tokenizers::Tokenizer, source: &str) -> Result<Self> {
        let is_named = |name: &str| {
            let is_word = name.chars().all(char::is_alphanumeric) || name.trim().is_empty();
            name.chars().count() > 2 && !is_word && source.contains(name)
        };
        let added = tokenizer.get_added_tokens_decoder();
        let names = added.iter().filter(|(_, token)| token.special || is_named(&token.content));
        let mut names: Vec<_> = names.map(|(id, token)| (*id, token.clone().special(true))).collect();
        names.sort_by_key(|(id, _)| *id);
        let mut plain = tokenizer.get_added_vocabulary().clone();
        let tokens: Vec<AddedToken> = names.iter().map(|(_, token)| token.clone()).collect();
        plain.add_special_tokens(&tokens, tokenizer.get_model(), tokenizer.get_normalizer());
        plain.set_encode_special_tokens(true);
        names.retain(|(_, token)| token.content.chars().nth(1).is_some());
        let of_names = |pick: fn(&str) -> Option<char>| {
            names.iter().filter_map(|(_, token)| pick(&token.content)).collect()
        };
        let (first, last) = (of_names(|name| name.chars().next()), of_names(|name| name.chars().last()));
        let mut finder = AhoCorasick::builder();
        let finder = finder
            .match_kind(MatchKind::LeftmostLongest)
            .build(names.iter().map(|(_, token)| &token.content));
        let finder = finder.map_err(|e| wrong(format!("tokenizer: names of special tokens: {e}")))?;
        Ok(Self { names, finder, plain, first, last })
    }

    /// Where names are, with the spaces around them that belong to some of them.
    pub(super) fn find(&self, text: &str) -> Vec<Marker> {
        let (mut found, mut from) = (Vec::new(), 0);
        for name in self.finder.find_iter(text).filter(|name| !name.is_empty()) {
            // One whose first spaces belong to the name before is none.
            if name.start() < from {
                continue;
            }
            let (id, token) = &self.names[name.pattern().as_usize()];
            let after = &text[name.end()..];
            let before = text[from..name.start()].trim_end().len();
            let start = if token.lstrip { from + before } else { name.start() };
            from = name.end() + if token.rstrip { after.len() - after.trim_start().len() } else { 0 };
            found.push((start..from, *id));
        }
        found
    }

    /// A text with `mark` in the names that are found. What else a template may look for stays as it is.
    pub(super) fn broken(&self, text: &str, mark: char) -> String {
        let (mut out, mut from) = (String::with_capacity(text.len()), 0);
        for name in self.finder.find_iter(text) {
            let second = text[name.range()].char_indices().nth(1).map_or(0, |(at, _)| at);
            out.push_str(&text[from..name.start() + second]);
            out.push(mark);
            from = name.start() + second;
        }
        out.push_str(&text[from..]);
        out
    }

    /// May a template make a name of a part of this text?
    pub(super) fn has_parts_in(&self, text: &str) -> bool {
        let core = text.trim();
        let is_inside = |(_, token): &(u32, AddedToken)| token.content.contains(core);
        core.chars().any(|c| self.first.contains(&c) || self.last.contains(&c))
            || (!core.is_empty() && self.names.iter().any(is_inside))
    }

    /// A text of which nothing can be a part of a name, whatever a template puts around it or leaves out of
    /// it: `mark` stands at both ends, behind all first characters of names, and in front of all last ones.
    pub(super) fn guarded(&self, text: &str, mark: char) -> String {
        let core = text.trim();
        if core.is_empty() {
            return text.to_owned();
        }
        let mut out = text[..text.len() - text.trim_start().len()].to_owned();
        out.push(mark);
        for c in core.chars() {
            out.extend(self.last.contains(&c).then_some(mark));
            out.push(c);
            out.extend(self.first.contains(&c).then_some(mark));
        }
        out.push(mark);
        out.push_str(&text[text.trim_end().len()..]);
        out
    }

    /// Tokens of a text with these markers, and no others.
    pub(super) fn encode(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        markers: &[Marker],
    ) -> Result<Vec<u32>> {
        let failed = |e: tokenizers::Error| Error::invalid(format!("Tokenizer::encode: {e}"));
        let ids = self.tokens(tokenizer, text, markers).map_err(failed)?;
        // A vocabulary that has them as words, too, would let text write them.
        let count = |ids: &[u32]| ids.iter().filter(|id| self.name(**id).is_some()).count();
        if count(&ids) == markers.len() {
            return Ok(ids);
        }
        let wanted: HashSet<u32> = markers.iter().map(|(_, id)| *id).collect();
        let forged = ids.iter().find(|id| self.name(**id).is_some() && !wanted.contains(id));
        let name = forged.or(ids.first()).and_then(|id| self.name(*id)).unwrap_or_default();
        Err(Error::invalid(format!(
            "Tokenizer::encode: the text has names of special tokens ({name:?}), which this tokenizer has no other tokens for"
        )))
    }

    fn name(&self, id: u32) -> Option<&str> {
        self.names.iter().find(|(own, _)| *own == id).map(|(_, token)| token.content.as_str())
    }

    /// As the crate does it, but that it is told where special tokens are.
    fn tokens(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        markers: &[Marker],
    ) -> tokenizers::Result<Vec<u32>> {
        let pieces = self.pieces(tokenizer, text, markers);
        let mut parts = PreTokenizedString::from(text);
        parts.split(|_, whole| {
            let split = |(range, id): &(Range<usize>, Option<u32>)| {
                let part: NormalizedString =
                    whole.slice(tokenizers::normalizer::Range::Original(range.clone()))?;
                let token = |id| vec![Token::new(id, String::new(), (0, part.get().len()))];
                Some(Split::from((part.clone(), id.map(token))))
            };
            Ok(pieces.iter().filter_map(split).collect::<Vec<_>>())
        })?;
        if let Some(normalizer) = tokenizer.get_normalizer() {
            parts.normalize(|part| normalizer.normalize(part))?;
        }
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut parts)?;
        }
        parts.tokenize(|part| tokenizer.get_model().tokenize(part.get()))?;
        let splits = parts.get_splits(OffsetReferential::Original, OffsetType::None);
        let tokens = splits.into_iter().filter_map(|(_, _, tokens)| tokens.as_ref());
        Ok(tokens.flatten().map(|token| token.id).collect())
    }

    /// The markers, other added tokens, and the text between them.
    fn pieces(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
        markers: &[Marker],
    ) -> Vec<(Range<usize>, Option<u32>)> {
        let (mut pieces, mut from) = (Vec::new(), 0);
        let end = text.len()..text.len();
        for (range, id) in markers.iter().map(|(range, id)| (range, Some(*id))).chain([(&end, None)]) {
            let between =
                self.plain.extract_and_normalize(tokenizer.get_normalizer(), &text[from..range.start]);
            for (_, own, tokens) in between.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                let id = tokens.as_ref().and_then(|tokens| tokens.first()).map(|token| token.id);
                pieces.push((from + own.0..from + own.1, id));
            }
            pieces.extend(id.map(|id| (range.clone(), Some(id))));
            from = range.end;
        }
        pieces
    }
}

#[cfg(test)]
mod tests;
