//! The text of `nvdisasm -hex`: instructions, their control codes, labels.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// What ptxas wrote into an instruction for the scheduler (Jia et al., arXiv 1804.06826, 2.1): bits 105 to
/// 121.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// Cycles until the warp may issue its next instruction.
    pub(crate) stall: u8,
    /// Scoreboard that is set until the result is there; 7 is none.
    pub(crate) write: u8,
    /// Scoreboard that is set until the sources have been read; 7 is none.
    pub(crate) read: u8,
    /// Scoreboards that must be clear before issue, a bit each.
    pub(crate) wait: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) pc: u32,
    pub(crate) text: String,
    pub(crate) control: Control,
}

#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) lines: Vec<Line>,
    /// Index of the instruction behind a label.
    pub(crate) labels: BTreeMap<String, u32>,
}

/// The part of the disassembler's text that is a kernel's.
pub(crate) fn listing(text: &str, kernel: &str) -> Result<Listing> {
    let head = format!(".text.{kernel}:");
    let mut listing = Listing::default();
    let body =
        text.lines().skip_while(|line| *line != head).skip(1).take_while(|line| !line.starts_with("//"));
    for line in body {
        let index = u32::try_from(listing.lines.len()).unwrap_or(u32::MAX);
        if let Some(label) = label(line) {
            listing.labels.insert(label.to_owned(), index);
        } else if let Some(found) = instruction(line) {
            listing.lines.push(found);
        } else if let (Some(high), Some(last)) = (words(line.trim()), listing.lines.last_mut()) {
            last.control = control(high);
        }
    }
    if listing.lines.is_empty() {
        return Err(Error::Invalid(format!("the disassembler shows no instruction of {kernel}")));
    }
    Ok(listing)
}

fn label(line: &str) -> Option<&str> {
    let label = line.trim_end().strip_suffix(':')?;
    (!label.starts_with([' ', '\t']) && !label.contains(' ')).then_some(label)
}

/// `/*0010*/  TEXT ;  /* 0x... */`
fn instruction(line: &str) -> Option<Line> {
    let (pc, rest) = line.trim_start().strip_prefix("/*")?.split_once("*/")?;
    let (text, _) = rest.rsplit_once(';')?;
    let pc = u32::from_str_radix(pc, 16).ok()?;
    Some(Line { pc, text: text.trim().to_owned(), control: Control::default() })
}

/// `/* 0x... */`
fn words(line: &str) -> Option<u64> {
    let digits = line.strip_prefix("/* 0x")?.strip_suffix(" */")?;
    u64::from_str_radix(digits, 16).ok()
}

/// Of the upper 64 bits of an instruction.
fn control(high: u64) -> Control {
    let field = |shift: u32, bits: u32| u8::try_from(high >> shift & ((1 << bits) - 1)).unwrap_or(0);
    Control { stall: field(41, 4), write: field(46, 3), read: field(49, 3), wait: field(52, 6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
.text.other:
        /*0000*/                   EXIT ;    /* 0x000000000000794d */
                                             /* 0x000fea0003800000 */
//--------------------- .text.one --------------------------
.text.one:
.L_x_0:
        /*0000*/                   IMAD R1, R2, R3, RZ ;    /* 0x000000000000794d */
                                                            /* 0x021fe80000000a00 */
.L_x_1:
        /*0010*/              @!P0 BRA `(.L_x_0);    /* 0x000000000000794d */
                                                     /* 0x000fea0003800000 */
//--- end
";

    #[test]
    fn a_listing_has_text_control_codes_and_labels() {
        let listing = listing(TEXT, "one").unwrap();
        assert_eq!(listing.lines.len(), 2);
        assert_eq!(listing.lines[1].text, "@!P0 BRA `(.L_x_0)");
        assert_eq!((listing.labels[".L_x_0"], listing.labels[".L_x_1"]), (0, 1));
        // By hand: 0x021fe8 is wait 0b100001, read 7, write 7, yield 1, stall 4.
        assert_eq!(listing.lines[0].control, Control { stall: 4, write: 7, read: 7, wait: 0b10_0001 });
        assert!(super::listing(TEXT, "two").is_err());
    }
}
