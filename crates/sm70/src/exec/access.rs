//! Loads and stores of 1, 2 or 4 words of 32 bits a lane.

use super::block::{Count, Machine};
use super::warp::Warp;
use super::wavefronts::{least_wavefronts, wavefronts};
use super::{lanes, Lanes, Mask, Trouble};
use crate::fault::FaultKind;
use crate::op::{Address, Space, Src32, Src64, R32};
use crate::race::Access;

/// What an access is, without its addresses.
#[derive(Debug, Clone, Copy)]
struct Shape {
    space: Space,
    words: u8,
    active: Mask,
}

impl Shape {
    fn bytes(self) -> u32 {
        4 * u32::from(self.words)
    }

    /// Byte offsets of the words.
    fn offsets(self) -> impl Iterator<Item = (usize, u32)> {
        (0..usize::from(self.words)).zip((0..).step_by(4))
    }
}

impl Warp {
    #[allow(clippy::too_many_arguments, reason = "the fields of one instruction")]
    pub(super) fn load(
        &mut self,
        space: Space,
        words: u8,
        d: [R32; 4],
        from: Address,
        pc: u32,
        active: Mask,
        machine: &mut Machine<'_>,
    ) -> Result<(), Box<Trouble>> {
        let shape = Shape { space, words, active };
        let addresses = self.addresses(from, active)?;
        let mut value = [[0; 32]; 4];
        let epoch = machine.epoch;
        for lane in lanes(active) {
            let by = Access { thread: self.number * 32 + lane, pc };
            let address = aligned(addresses[lane as usize], shape.bytes(), lane)?;
            match space {
                Space::Shared => {
                    let at = machine.shared.check(address, shape.bytes(), lane)?;
                    for (word, offset) in shape.offsets() {
                        value[word][lane as usize] = machine.shared.load(at + offset, by, epoch)?;
                    }
                }
                Space::Global => {
                    let (number, at) = machine.global.check(address, shape.bytes(), lane)?;
                    for (word, offset) in shape.offsets() {
                        let place = (number, at + offset as usize);
                        value[word][lane as usize] =
                            machine.global.load(address + u64::from(offset), place, by, epoch)?;
                    }
                }
            }
        }
        for (number, value) in d.iter().zip(&value).take(usize::from(words)) {
            self.write32(*number, value, active);
        }
        count(shape, &addresses, &mut machine.counts[pc as usize]);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one instruction")]
    pub(super) fn store(
        &mut self,
        space: Space,
        words: u8,
        to: Address,
        a: [Src32; 4],
        pc: u32,
        active: Mask,
        machine: &mut Machine<'_>,
    ) -> Result<(), Box<Trouble>> {
        let shape = Shape { space, words, active };
        let addresses = self.addresses(to, active)?;
        let mut value = [[0; 32]; 4];
        for (slot, source) in value.iter_mut().zip(a).take(usize::from(words)) {
            *slot = self.read32(source, active)?;
        }
        let epoch = machine.epoch;
        for lane in lanes(active) {
            let by = Access { thread: self.number * 32 + lane, pc };
            let address = aligned(addresses[lane as usize], shape.bytes(), lane)?;
            match space {
                Space::Shared => {
                    let at = machine.shared.check(address, shape.bytes(), lane)?;
                    for (word, offset) in shape.offsets() {
                        machine.shared.store(at + offset, value[word][lane as usize], by, epoch)?;
                    }
                }
                Space::Global => {
                    machine.global.check(address, shape.bytes(), lane)?;
                    for (word, offset) in shape.offsets() {
                        let value = value[word][lane as usize];
                        machine.global.store(address + u64::from(offset), value, by, epoch)?;
                    }
                }
            }
        }
        count(shape, &addresses, &mut machine.counts[pc as usize]);
        Ok(())
    }

    fn addresses(&self, address: Address, active: Mask) -> Result<Lanes<u64>, Box<Trouble>> {
        let base = match address.base {
            Some(number) => self.read64(Src64::Reg(number), active)?,
            None => [0; 32],
        };
        Ok(base.map(|base| base.wrapping_add_signed(address.offset)))
    }
}

fn aligned(address: u64, bytes: u32, lane: u32) -> Result<u64, Box<Trouble>> {
    if address.is_multiple_of(u64::from(bytes)) {
        return Ok(address);
    }
    let message = format!("{bytes} bytes at {address:#x}, which is no multiple of {bytes}");
    Err(Trouble::new(FaultKind::Misaligned, lane, message))
}

/// Counts an access that has been checked.
fn count(shape: Shape, addresses: &Lanes<u64>, count: &mut Count) {
    match shape.space {
        Space::Shared => {
            let offsets = addresses.map(|address| u32::try_from(address).unwrap_or(0));
            count.wavefronts += u64::from(wavefronts(&offsets, shape.active, shape.bytes()));
            count.least += u64::from(least_wavefronts(shape.active, shape.bytes()));
        }
        Space::Global => {
            let mut sectors: Vec<u64> =
                lanes(shape.active).map(|lane| addresses[lane as usize] / 32).collect();
            sectors.sort_unstable();
            sectors.dedup();
            count.sectors += sectors.len() as u64;
        }
    }
}
