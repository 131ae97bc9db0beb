//! What is drawn while the user waits; nothing unless stderr is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows that something goes on, and for how long.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    drawn(ProgressBar::new_spinner(), what, "{spinner} {msg}, {elapsed_precise}")
}

/// Shows how much of `len` is done.
pub(crate) fn bar(what: &str, len: u64) -> ProgressBar {
    drawn(ProgressBar::new(len), what, "{msg} {wide_bar} {human_pos}/{human_len}, {elapsed_precise}")
}

fn drawn(bar: ProgressBar, what: &str, template: &str) -> ProgressBar {
    let bar = bar.with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
