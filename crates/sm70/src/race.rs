//! Who touched a word of memory since the last barrier of the block.
//!
//! Two threads race at a word if one of them writes it and no barrier lies between them. Lanes of one warp
//! are no exception: without `bar.warp.sync` (which is not modelled) nothing orders them. Two readers are
//! remembered, not all: a writer that is neither of two different readers, or only one of them, races with
//! the other.

/// A thread at an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Access {
    /// Thread of the block, linear.
    pub(crate) thread: u32,
    /// Instruction of the kernel.
    pub(crate) pc: u32,
}

/// The other side of a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rival {
    pub(crate) access: Access,
    pub(crate) wrote: bool,
}

/// History of a word in one block. An epoch lasts from barrier to barrier and counts from 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct History {
    write_epoch: u32,
    writer: Access,
    read_epoch: u32,
    reader: Access,
    /// A second reader; `second.thread == reader.thread`: none.
    second: Access,
}

impl History {
    pub(crate) fn is_written(&self) -> bool {
        self.write_epoch != 0
    }

    pub(crate) fn writer(&self) -> Access {
        self.writer
    }

    pub(crate) fn read(&mut self, by: Access, epoch: u32) -> Result<(), Rival> {
        if self.write_epoch == epoch && self.writer.thread != by.thread {
            return Err(Rival { access: self.writer, wrote: true });
        }
        if self.read_epoch != epoch {
            (self.read_epoch, self.reader, self.second) = (epoch, by, by);
        } else if self.reader.thread == self.second.thread && self.reader.thread != by.thread {
            self.second = by;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, by: Access, epoch: u32) -> Result<(), Rival> {
        if self.write_epoch == epoch && self.writer.thread != by.thread {
            return Err(Rival { access: self.writer, wrote: true });
        }
        if self.read_epoch == epoch {
            for reader in [self.reader, self.second] {
                if reader.thread != by.thread {
                    return Err(Rival { access: reader, wrote: false });
                }
            }
        }
        (self.write_epoch, self.writer) = (epoch, by);
        Ok(())
    }
}
