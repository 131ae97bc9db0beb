//! Where the lanes of a warp are. A path is a set of lanes at one instruction; a warp that never branched
//! apart has one.
//!
//! The path with the lowest instruction runs, and paths that meet become one: code that a compiler laid out
//! in order of execution joins at the end of each branch. Joining is never taken for granted. Instructions of
//! the warp wait until the lanes that they name are all there (PTX ISA, "mma.sync", "shfl.sync", "bar.sync").

use super::{lanes, Mask};

#[derive(Debug, Clone, Copy)]
struct Path {
    pc: u32,
    mask: Mask,
    /// At a warp instruction, for lanes that are not there.
    waits: bool,
}

/// Where a lane is that a warp instruction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// At this instruction, for others.
    Waits(u32),
    /// Ended at this instruction.
    Ended(u32),
    /// The block has no such thread.
    Absent,
}

#[derive(Debug)]
pub(super) struct Paths {
    pc: u32,
    mask: Mask,
    others: Vec<Path>,
    /// Lanes that are threads.
    threads: Mask,
    /// Instruction at which a lane ended.
    ended: [u32; 32],
}

impl Paths {
    pub(super) fn new(threads: Mask) -> Self {
        Self { pc: 0, mask: threads, others: Vec::new(), threads, ended: [0; 32] }
    }

    /// Instruction and lanes that run now.
    pub(super) fn current(&self) -> (u32, Mask) {
        (self.pc, self.mask)
    }

    pub(super) fn threads(&self) -> Mask {
        self.threads
    }

    /// Have all lanes ended?
    pub(super) fn done(&self) -> bool {
        self.mask == 0 && self.others.is_empty()
    }

    pub(super) fn advance(&mut self) {
        self.go(self.pc + 1);
    }

    fn go(&mut self, pc: u32) {
        self.pc = pc;
        if !self.others.is_empty() {
            self.choose();
        }
    }

    /// `taken` of the current lanes go to `target`, the others on.
    pub(super) fn branch(&mut self, taken: Mask, target: u32) {
        let stay = self.mask & !taken;
        if stay == 0 {
            return self.go(target);
        }
        if taken != 0 {
            self.others.push(Path { pc: target, mask: taken, waits: false });
            self.mask = stay;
        }
        self.advance();
    }

    /// `leaving` of the current lanes end here.
    pub(super) fn end(&mut self, leaving: Mask) {
        for lane in lanes(leaving) {
            self.ended[lane as usize] = self.pc;
        }
        self.mask &= !leaving;
        self.advance();
    }

    /// The current lanes wait here for lanes that are not there. False: nobody else can run.
    pub(super) fn wait(&mut self) -> bool {
        if self.others.iter().all(|path| path.waits) {
            return false;
        }
        self.others.push(Path { pc: self.pc, mask: self.mask, waits: true });
        self.mask = 0;
        self.choose();
        true
    }

    /// The lowest path that can run, joined with all that are at the same instruction.
    fn choose(&mut self) {
        let runs = |path: &&Path| !path.waits;
        let lowest = self.others.iter().filter(runs).map(|path| path.pc).min();
        if self.mask != 0 && lowest.is_none_or(|pc| pc >= self.pc) {
            return self.join();
        }
        if self.mask != 0 {
            self.others.push(Path { pc: self.pc, mask: self.mask, waits: false });
            self.mask = 0;
        }
        // Nobody can run: one that waits finds out what it waits for.
        if let Some(pc) = lowest.or_else(|| self.others.iter().map(|path| path.pc).min()) {
            self.pc = pc;
            self.join();
        }
    }

    fn join(&mut self) {
        let here = self.pc;
        let mut mask = self.mask;
        self.others.retain(|path| {
            if path.pc == here {
                mask |= path.mask;
            }
            path.pc != here
        });
        self.mask = mask;
    }

    /// Where a lane is that is not among the current ones.
    pub(super) fn missing(&self, lane: u32) -> Missing {
        if self.threads >> lane & 1 == 0 {
            return Missing::Absent;
        }
        let path = self.others.iter().find(|path| path.mask >> lane & 1 == 1);
        path.map_or(Missing::Ended(self.ended[lane as usize]), |path| Missing::Waits(path.pc))
    }
}
