//! PTX text to tokens.

use crate::fault::Error;

/// A token of PTX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Opcodes with their suffixes, directives, registers, labels, numbers: everything of letters, digits,
    /// `. _ $ %`.
    Word(&'a str),
    /// A string without its quotes.
    Text(&'a str),
    Mark(char),
}

/// Tokens with their lines, from 1.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token<'_>, u32)>, Error> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").ok_or_else(|| Error::invalid(line, "a comment without end"))? + 2
        } else if first == '"' {
            let end = rest[1..].find('"').ok_or_else(|| Error::invalid(line, "a string without end"))?;
            found.push((Token::Text(&rest[1..=end]), line));
            end + 2
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            found.push((Token::Word(&rest[..end]), line));
            end
        } else if first.is_ascii_punctuation() {
            found.push((Token::Mark(first), line));
            1
        } else {
            return Err(Error::invalid(line, format_args!("the character {first:?}")));
        };
        line += rest[..length].matches('\n').map(|_| 1).sum::<u32>();
        rest = &rest[length..];
    }
    Ok(found)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$' | '%')
}
