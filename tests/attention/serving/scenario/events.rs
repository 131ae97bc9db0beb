//! What happens in a scenario, counted and written down.

/// One list makes the type and [`ALL`] of its values.
macro_rules! events {
    ($($(#[$meaning:meta])* $name:ident,)*) => {
        /// What an engine does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Event {
            $($(#[$meaning])* $name,)*
        }

        pub(super) const ALL: &[Event] = &[$(Event::$name,)*];
    };
}

events! {
    Arrival,
    /// Part of a prompt, with more to come.
    PrefillChunk,
    /// The rest of a prompt, or all of it.
    PrefillEnd,
    Decode,
    Speculation,
    /// Speculative tokens that are given up.
    Rejection,
    /// One launch with rows of prompts and of decode or speculative steps.
    MixedStep,
    /// A sequence loses its pages to another one.
    Eviction,
    /// It starts again.
    Readmission,
    /// A full page of another sequence is used, or one that was kept.
    SharedPage,
    /// A full page that was kept is given to somebody else.
    Reclaim,
    /// A second sequence goes on from the tokens of a first.
    Fork,
    /// A shared page is copied on the device.
    CopyOnWrite,
    /// The rows of a shared page are appended to a new one.
    AppendOnWrite,
    End,
    /// A slot without rows and keys.
    PaddedSlot,
    /// A slot with keys, but without rows.
    IdleSlot,
    /// A token with place -1.
    NoPlace,
}

/// Counts, and the story so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    counts: [usize; ALL.len()],
    story: Vec<String>,
    step: usize,
}

/// Lines of the story that a failure shows.
const SHOWN: usize = 80;

impl Events {
    pub(super) fn next_step(&mut self) {
        self.step += 1;
    }

    pub(super) fn add(&mut self, event: Event, what: impl std::fmt::Display) {
        self.count(event);
        self.story.push(format!("step {}: {event:?}: {what}", self.step));
    }

    /// Leaves no line.
    pub(super) fn count(&mut self, event: Event) {
        self.counts[event as usize] += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(own, count)| *own += count);
    }

    /// Those that did not happen.
    pub(super) fn missing(&self) -> Vec<Event> {
        ALL.iter().copied().filter(|event| self.counts[*event as usize] == 0).collect()
    }

    pub(super) fn counts(&self) -> String {
        let count = |event: &Event| format!("{event:?} {}", self.counts[*event as usize]);
        ALL.iter().map(count).collect::<Vec<_>>().join(", ")
    }

    /// The last lines.
    pub(super) fn story(&self) -> String {
        self.story[self.story.len().saturating_sub(SHOWN)..].join("\n")
    }
}
