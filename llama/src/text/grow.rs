//! Text that grows token by token.

use fastattention::Result;

use super::Tokenizer;

/// Tokens in front of the new ones that are decoded again: some decoders treat the first token of a text in
/// another way.
const CONTEXT: usize = 4;

/// The text of tokens that come one by one. A character whose bytes come with several tokens appears when it
/// is whole.
#[derive(Clone, Debug, Default)]
pub struct Growing {
    tokens: Vec<u32>,
    /// Tokens whose text was given out.
    told: usize,
}

impl Growing {
    /// A text without tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token; what it adds to the text.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<String> {
        self.tokens.push(token);
        let (before, all) = self.texts(tokenizer)?;
        // A character may have 4 bytes, each a token: after more, the bytes are none.
        let may_grow = all.ends_with('\u{fffd}') && self.tokens.len() - self.told < 4;
        if may_grow {
            return Ok(String::new());
        }
        self.told = self.tokens.len();
        Ok(new_text(&before, &all))
    }

    /// What is left of the text when no token comes any more.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        let (before, all) = self.texts(tokenizer)?;
        self.told = self.tokens.len();
        Ok(new_text(&before, &all))
    }

    /// The text of the last tokens that were told, and of these and the new ones.
    fn texts(&self, tokenizer: &Tokenizer) -> Result<(String, String)> {
        let context = self.told.saturating_sub(CONTEXT);
        let before = tokenizer.decode(&self.tokens[context..self.told])?;
        Ok((before, tokenizer.decode(&self.tokens[context..])?))
    }
}

/// What `all` has behind `before`. Where the context begins within a character both begin with the same wrong
/// one.
fn new_text(before: &str, all: &str) -> String {
    all.strip_prefix(before).unwrap_or(all).to_owned()
}

/// Strings that end a text. Text that may be the start of one is held back.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    /// Empty strings are left out: a text would end before it begins.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(), held: String::new() }
    }

    /// Adds text; what may be given out, and whether a string was found, of which nothing is given out.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop)).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, when no text comes any more.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    (1..=most).rev().find(|len| text.as_bytes().ends_with(&stop.as_bytes()[..*len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is given out for these pieces, and whether the text was ended.
    fn given(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut scan = Stops::new(stops.iter().map(|stop| (*stop).to_owned()));
        let mut out = Vec::new();
        for piece in pieces {
            let (text, is_end) = scan.push(piece);
            out.push(text);
            if is_end {
                return (out, true);
            }
        }
        out.push(scan.finish());
        (out, false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces() {
        assert_eq!(given(&["END"], &["a E", "N", "D b"]), (vec!["a ".into(), "".into(), "".into()], true));
        assert_eq!(given(&["END"], &["a E", "Nd"]), (vec!["a ".into(), "ENd".into(), "".into()], false));
        assert_eq!(given(&["END"], &["aEN"]), (vec!["a".into(), "EN".into()], false));
    }

    #[test]
    fn the_first_of_several_ends_the_text() {
        assert_eq!(given(&["bc", "b"], &["abc"]), (vec!["a".into()], true));
        assert_eq!(given(&["", "x"], &["abc"]), (vec!["abc".into(), "".into()], false));
        assert_eq!(given(&[], &["abc"]), (vec!["abc".into(), "".into()], false));
    }

    #[test]
    fn characters_of_several_bytes_are_never_cut() {
        assert_eq!(
            given(&["é!"], &["caf", "é", "?"]),
            (vec!["caf".into(), "".into(), "é?".into(), "".into()], false)
        );
        assert_eq!(given(&["é!"], &["è"]), (vec!["è".into(), "".into()], false));
    }
}
