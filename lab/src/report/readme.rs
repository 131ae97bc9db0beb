//! A Markdown file with a part that the command writes.

use std::path::Path;

use anyhow::{bail, Context, Result};
use fastattention_cli::output::Output;

/// Lines between which is written.
const BEGIN: &str = "<!-- model-time:begin -->";
const END: &str = "<!-- model-time:end -->";

/// A file with the two lines, and where they are.
pub(super) struct Marked {
    output: Output,
    text: String,
    begin: usize,
    end: usize,
}

impl Marked {
    pub(super) fn find(path: &Path) -> Result<Self> {
        let shown = path.display();
        let output = Output::check(path, None)?;
        let text = output.earlier()?.with_context(|| format!("readme {shown} is not there"))?;
        let begin = text.find(BEGIN).map(|at| at + BEGIN.len());
        let Some((begin, end)) = begin.zip(text.find(END)).filter(|(begin, end)| begin <= end) else {
            bail!("readme {shown} has no lines {BEGIN} and {END} in this order");
        };
        Ok(Self { output, text, begin, end })
    }

    /// Replaces the sections that `tables` has, by their headings, and adds those that are not there yet.
    pub(super) fn update(&self, tables: &str) -> Result<()> {
        let (about, new) = sections(tables);
        let (_, mut all) = sections(&self.text[self.begin..self.end]);
        for section in new {
            match all.iter_mut().find(|known| known.lines().next() == section.lines().next()) {
                Some(known) => *known = section,
                None => all.push(section),
            }
        }
        let all: Vec<&str> = std::iter::once(about).chain(all).map(str::trim_end).collect();
        self.replace(&format!("{}\n", all.join("\n\n")))
    }

    pub(super) fn replace(&self, tables: &str) -> Result<()> {
        let text = format!("{}\n{}{}", &self.text[..self.begin], tables, &self.text[self.end..]);
        self.output.write_bytes(text.as_bytes())
    }
}

/// What comes before the first heading, and the sections.
fn sections(text: &str) -> (&str, Vec<&str>) {
    let starts: Vec<usize> = text.match_indices("\n### ").map(|(at, _)| at + 1).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let about = &text[..starts.first().copied().unwrap_or(text.len())];
    (about, starts.iter().zip(ends).map(|(&start, end)| &text[start..end]).collect())
}
