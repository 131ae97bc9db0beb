//! Pages of the cache: who has which, and which hold the start of a text that may come again.

use std::collections::{HashMap, VecDeque};

/// The start of a text, up to and with one whole page: the start before it, and the tokens of the page. Ids
/// are never used again, so what follows a start that was forgotten is never found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Start {
    before: Option<u64>,
    tokens: Box<[u32]>,
}

/// All pages. A page belongs to as many sequences as share it. One that nobody has keeps its keys until it is
/// needed for others.
#[derive(Debug)]
pub(super) struct Pages {
    page_size: usize,
    owners: Vec<u32>,
    /// The id and the start that a page holds, where it is kept for others.
    starts: Vec<Option<(u64, Start)>>,
    by_start: HashMap<Start, u32>,
    /// Pages that nobody has: those that hold nothing in front, then by the time of their last use.
    free: VecDeque<u32>,
    next_id: u64,
}

/// Pages of one sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) pages: Vec<u32>,
    /// Whole pages that are told as starts, and the id of the last of them.
    told: usize,
    last: Option<u64>,
}

impl Pages {
    pub(super) fn new(num_pages: u32, page_size: u32) -> Self {
        Self {
            page_size: page_size as usize,
            owners: vec![0; num_pages as usize],
            starts: vec![None; num_pages as usize],
            by_start: HashMap::new(),
            free: (0..num_pages).collect(),
            next_id: 0,
        }
    }

    /// Pages that nobody has.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Pages of all kinds.
    pub(super) fn all(&self) -> usize {
        self.owners.len()
    }

    /// The pages of a new sequence that hold the start of its tokens, as many as there are. The last token
    /// is never among them: its logits are wanted.
    pub(super) fn start(&mut self, tokens: &[u32]) -> Held {
        let mut held = Held::default();
        for page_tokens in tokens[..tokens.len().saturating_sub(1)].chunks_exact(self.page_size) {
            let start = Start { before: held.last, tokens: page_tokens.into() };
            let Some(&page) = self.by_start.get(&start) else { break };
            if self.owners[page as usize] == 0 {
                self.free.retain(|free| *free != page);
            }
            self.owners[page as usize] += 1;
            held.pages.push(page);
            held.told += 1;
            held.last = self.starts[page as usize].as_ref().map(|(id, _)| *id);
        }
        held
    }

    /// Makes room for `keys` keys of a sequence; false, and nothing is changed, where there are too few
    /// pages.
    pub(super) fn grow(&mut self, held: &mut Held, keys: usize) -> bool {
        let wanted = keys.div_ceil(self.page_size).saturating_sub(held.pages.len());
        if wanted > self.free.len() {
            return false;
        }
        for page in self.free.drain(..wanted).collect::<Vec<_>>() {
            self.forget(page);
            self.owners[page as usize] = 1;
            held.pages.push(page);
        }
        true
    }

    /// Tells which pages of a sequence are whole: its first `keys` tokens have their keys in the cache. A
    /// start that another page holds already stays with that one.
    pub(super) fn tell(&mut self, held: &mut Held, tokens: &[u32], keys: usize) {
        while (held.told + 1) * self.page_size <= keys {
            let from = held.told * self.page_size;
            let start = Start { before: held.last, tokens: tokens[from..from + self.page_size].into() };
            let page = held.pages[held.told];
            let holder = *self.by_start.entry(start.clone()).or_insert(page);
            if holder == page && self.starts[page as usize].is_none() {
                self.starts[page as usize] = Some((self.next_id, start));
                self.next_id += 1;
            }
            held.last = self.starts[holder as usize].as_ref().map(|(id, _)| *id);
            held.told += 1;
        }
    }

    /// Takes the pages of a sequence back. Its last pages are used again first: a start is of more use than
    /// what follows it.
    pub(super) fn release(&mut self, held: Held) {
        for page in held.pages.into_iter().rev() {
            let owners = &mut self.owners[page as usize];
            *owners -= 1;
            if *owners > 0 {
                continue;
            }
            match self.starts[page as usize] {
                Some(_) => self.free.push_back(page),
                None => self.free.push_front(page),
            }
        }
    }

    fn forget(&mut self, page: u32) {
        if let Some((_, start)) = self.starts[page as usize].take() {
            self.by_start.remove(&start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: u32) -> Vec<u32> {
        (100..100 + count).collect()
    }

    /// A sequence with all of its keys in the cache.
    fn full(pages: &mut Pages, tokens: &[u32]) -> Held {
        let mut held = pages.start(tokens);
        assert!(pages.grow(&mut held, tokens.len()));
        pages.tell(&mut held, tokens, tokens.len());
        held
    }

    #[test]
    fn whole_pages_of_the_same_start_are_shared() {
        let mut pages = Pages::new(8, 4);
        let first = full(&mut pages, &tokens(10));
        let second = pages.start(&tokens(10));
        assert_eq!(second.pages, first.pages[..2]);
        assert_eq!(pages.start(&[&tokens(4)[..], &[1, 2, 3, 4, 5]].concat()).pages, first.pages[..1]);
        assert!(pages.start(&tokens(4)).pages.is_empty(), "the logits of the last token are wanted");
        assert_eq!(pages.start(&tokens(5)).pages, first.pages[..1]);
        assert!(pages.start(&[7, 7, 7, 7, 7]).pages.is_empty());
    }

    #[test]
    fn pages_come_back_once_and_keep_their_start() {
        let mut pages = Pages::new(4, 4);
        let first = full(&mut pages, &tokens(9));
        let kept = first.pages.clone();
        let second = pages.start(&tokens(9));
        pages.release(first);
        assert_eq!(pages.free(), 2);
        pages.release(second);
        assert_eq!(pages.free(), 4);
        assert_eq!(pages.start(&tokens(9)).pages, kept[..2]);
        assert_eq!(pages.free(), 2);
    }

    #[test]
    fn a_page_that_others_need_is_forgotten() {
        let mut pages = Pages::new(3, 4);
        let first = full(&mut pages, &tokens(9));
        pages.release(first);
        let other: Vec<u32> = (0..9).collect();
        let second = full(&mut pages, &other);
        assert!(pages.start(&tokens(9)).pages.is_empty());
        let mut third = pages.start(&other);
        assert_eq!(third.pages, second.pages[..2]);
        assert!(!pages.grow(&mut third, 9), "all pages are taken");
        assert_eq!(third.pages.len(), 2);
    }

    /// Two sequences that begin the same and are computed side by side hold the start twice.
    #[test]
    fn a_start_is_kept_once() {
        let mut pages = Pages::new(6, 4);
        let (mut first, mut second) = (pages.start(&tokens(9)), pages.start(&tokens(9)));
        for held in [&mut first, &mut second] {
            assert!(pages.grow(held, 9));
        }
        for held in [&mut first, &mut second] {
            pages.tell(held, &tokens(9), 9);
        }
        assert_eq!(pages.start(&tokens(9)).pages, first.pages[..2]);
        pages.release(first.clone());
        pages.release(second);
        assert_eq!(pages.start(&tokens(9)).pages, first.pages[..2]);
    }

    /// Thousands of sequences that come and go: no page is lost, none belongs to two that differ.
    #[test]
    fn no_page_is_lost() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut pages = Pages::new(40, 4);
        let mut all: Vec<(Vec<u32>, Held)> = Vec::new();
        for _ in 0..5000 {
            if rng.bool() || all.is_empty() {
                let text: Vec<u32> = (0..rng.usize(1..30)).map(|_| rng.u32(..2)).collect();
                let mut held = pages.start(&text);
                if pages.grow(&mut held, text.len()) {
                    pages.tell(&mut held, &text, text.len());
                    all.push((text, held));
                } else {
                    pages.release(held);
                }
            } else {
                let (_, held) = all.swap_remove(rng.usize(..all.len()));
                pages.release(held);
            }
            let mut holds: HashMap<u32, &[u32]> = HashMap::new();
            for (text, held) in &all {
                for (page, end) in held.pages.iter().zip((4..).step_by(4)) {
                    let start = &text[..end.min(text.len())];
                    assert_eq!(*holds.entry(*page).or_insert(start), start, "a page of two texts");
                }
            }
            assert_eq!(holds.len() + pages.free(), pages.all());
        }
    }
}
