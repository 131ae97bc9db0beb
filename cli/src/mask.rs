//! Masks as arguments give them.

use anyhow::{bail, Result};
use fastattention::attention::Mask;

/// `none`, `causal` or `window:L,R`; `L` and `R` are counts of keys, or `*` for no limit.
///
/// # Errors
/// What the text is, and what is wanted.
pub fn parse_mask(text: &str) -> Result<Mask> {
    match text {
        "none" => return Ok(Mask::None),
        "causal" => return Ok(Mask::Causal),
        _ => {}
    }
    let Some((left, right)) = text.strip_prefix("window:").and_then(|w| w.split_once(',')) else {
        bail!("mask {text:?} is not none, causal or window:L,R (for example window:256,0; * = no limit)");
    };
    let side = |name: &str, text: &str| -> Result<Option<u32>> {
        if text == "*" {
            return Ok(None);
        }
        match text.parse() {
            Ok(count) => Ok(Some(count)),
            Err(_) => bail!("window {name} = {text:?} is not a count of keys from 0 to {} or *", u32::MAX),
        }
    };
    Ok(Mask::Window { left: side("left", left)?, right: side("right", right)? })
}

/// Masks with commas between them; the comma in `window:L,R` is its own.
///
/// # Errors
/// The first part that is no mask.
pub fn parse_masks(text: &str) -> Result<Masks> {
    let mut masks = Vec::new();
    let mut parts = text.split(',');
    while let Some(part) = parts.next() {
        let right = if part.starts_with("window:") { parts.next() } else { None };
        masks.push(match right {
            Some(right) => parse_mask(&format!("{part},{right}"))?,
            None => parse_mask(part)?,
        });
    }
    Ok(Masks(masks))
}

/// What [`parse_masks`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Masks(pub Vec<Mask>);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn masks_parse_or_say_what_is_wanted() {
        assert_eq!(parse_mask("none").unwrap(), Mask::None);
        assert_eq!(parse_mask("causal").unwrap(), Mask::Causal);
        assert_eq!(parse_mask("window:3,0").unwrap(), Mask::Window { left: Some(3), right: Some(0) });
        assert_eq!(parse_mask("window:*,7").unwrap(), Mask::Window { left: None, right: Some(7) });
        assert_eq!(
            parse_mask("window:3").unwrap_err().to_string(),
            "mask \"window:3\" is not none, causal or window:L,R (for example window:256,0; * = no limit)"
        );
        assert_eq!(
            parse_mask("window:-1,0").unwrap_err().to_string(),
            "window left = \"-1\" is not a count of keys from 0 to 4294967295 or *"
        );
    }

    #[test]
    fn masks_are_listed_with_commas() {
        let window = |left, right| Mask::Window { left, right };
        for (text, masks) in [
            ("none", vec![Mask::None]),
            ("none,causal", vec![Mask::None, Mask::Causal]),
            ("window:3,0", vec![window(Some(3), Some(0))]),
            (
                "causal,window:3,0,window:*,7,none",
                vec![Mask::Causal, window(Some(3), Some(0)), window(None, Some(7)), Mask::None],
            ),
        ] {
            assert_eq!(parse_masks(text).unwrap(), Masks(masks), "{text}");
        }
        for text in ["", "none,", "window:3", "window:3,causal", "none,0"] {
            assert!(parse_masks(text).is_err(), "{text}");
        }
    }
}
