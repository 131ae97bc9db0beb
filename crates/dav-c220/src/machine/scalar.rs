//! What the scalar unit does itself: loads, stores and special registers.

use super::core::{at_site, CoreKind};
use super::group::Group;
use crate::access::{
    Access, Addr, Dispatch, Elem, FaultKind, Instr, OpInfo, Pipe, Rate, Space, Stop, MAX_ARGS,
};
use crate::machine::abi::{KernelType, Special};

static LOAD: OpInfo = OpInfo {
    mnemonic: "scalar_load",
    dispatch: Dispatch::NoEffect,
    operands: &["address"],
    source: "dav-c220.md 1.4",
    rate: Rate::Scalar,
};
static STORE: OpInfo = OpInfo {
    mnemonic: "scalar_store",
    dispatch: Dispatch::NoEffect,
    operands: &["address"],
    source: "dav-c220.md 1.4",
    rate: Rate::Scalar,
};

/// Scalar loads after which another core goes first: a kernel that polls GM for what another core of its
/// group writes would otherwise wait for ever.
const LOADS_PER_TURN: u64 = 4096;

impl Group {
    /// Does core `c` give a turn away after the load that it just made?
    pub(super) fn load_ends_turn(&self, c: usize) -> bool {
        self.cores[c].scalar_loads.is_multiple_of(LOADS_PER_TURN)
    }

    /// Loads `bytes` bytes, zero-extended.
    pub(super) fn scalar_load(&mut self, c: usize, address: u64, bytes: u32) -> Result<u64, Stop> {
        self.cores[c].scalar_loads += 1;
        self.scalar(c, &LOAD, address, bytes, None)
    }

    /// Stores the low `bytes` bytes of `value`.
    pub(super) fn scalar_store(
        &mut self,
        c: usize,
        address: u64,
        bytes: u32,
        value: u64,
    ) -> Result<(), Stop> {
        self.scalar(c, &STORE, address, bytes, Some(value)).map(|_| ())
    }

    fn scalar(
        &mut self,
        c: usize,
        op: &'static OpInfo,
        address: u64,
        bytes: u32,
        store: Option<u64>,
    ) -> Result<u64, Stop> {
        self.shake(c)?;
        let core = &mut self.cores[c];
        let number = core.next_number();
        let site = core.site(self.block, Pipe::S, number, op.mnemonic);
        let mut args = [0; MAX_ARGS];
        args[0] = address;
        let (regs, elem) = (core.regs, Elem::None);
        let instr = Instr { op, elem, elem_dst: elem, args, num_args: 1, regs, number };
        self.scalar_access(c, &instr, bytes, store).map_err(|stop| at_site(stop, site))
    }

    fn scalar_access(
        &mut self,
        c: usize,
        instr: &Instr,
        bytes: u32,
        store: Option<u64>,
    ) -> Result<u64, Stop> {
        let addr = scalar_address(self.cores[c].kind, instr.args[0], bytes)?;
        let standing = match store {
            None => {
                let at = addr.offset.cast_unsigned();
                let model_address = self.launch.gm.find(at).map(|(_, a)| a.model_address(at));
                self.clocks.scalar_load(c, model_address)
            }
            Some(_) => self.clocks.scalar_store(c),
        };
        let len = bytes as usize;
        let mut exec = self.exec(c, Pipe::S, instr, standing);
        exec.require_aligned("address", addr, i64::from(bytes))?;
        let Some(value) = store else {
            exec.touch("address", addr, u64::from(bytes), Access::Read)?;
            if exec.is_dry() && exec.first_unwritten(addr, u64::from(bytes)).is_some() {
                return Err(Stop::unsupported(format!(
                    "the kernel loads {bytes} bytes from {} that an instruction would have computed; the device keeps time \
                     without results, use time with results",
                    addr.space
                )));
            }
            exec.require_init("address", addr, u64::from(bytes))?;
            let mut value = [0; 8];
            if addr.space == Space::Gm {
                exec.gm_read(addr, &mut value[..len]);
            } else {
                value[..len].copy_from_slice(exec.bytes(addr, len));
            }
            return Ok(u64::from_le_bytes(value));
        };
        exec.touch("address", addr, u64::from(bytes), Access::Write)?;
        let value = value.to_le_bytes();
        if addr.space == Space::Gm {
            exec.gm_write(addr, &value[..len]);
        } else {
            exec.bytes_mut(addr, len).copy_from_slice(&value[..len]);
            exec.mark(addr, len, true);
        }
        Ok(0)
    }

    /// Reads a special register.
    pub(super) fn special(&self, c: usize, which: u32) -> Result<u64, Stop> {
        let core = &self.cores[c];
        let computed = [Special::AccVal, Special::MaxMinCnt, Special::RsvdCnt];
        if self.launch.mode.is_dry && computed.iter().any(|s| *s as u32 == which) {
            let site = core.site(self.block, Pipe::S, core.issued, "special");
            let text =
                "the kernel reads a register that an instruction would have computed; the device keeps time \
                        without results, use time with results";
            return Err(at_site(Stop::unsupported(text), site));
        }
        let value = match which {
            w if w == Special::BlockIdx as u32 => u64::from(self.block),
            w if w == Special::BlockNum as u32 => u64::from(self.launch.blocks),
            w if w == Special::SubBlockId as u32 => u64::from(core.index == 2),
            w if w == Special::SubBlockDim as u32 => match self.launch.kernel_type {
                KernelType::MixAic1Aiv2 => 2,
                KernelType::AivOnly | KernelType::AicOnly | KernelType::MixAic1Aiv1 => 1,
            },
            w if w == Special::CoreType as u32 => u64::from(core.kind == CoreKind::Aiv),
            w if w == Special::AccVal as u32 => core.vector.acc_val,
            w if w == Special::MaxMinCnt as u32 => core.vector.max_min_cnt,
            w if w == Special::Ctrl as u32 => core.regs.ctrl,
            w if w == Special::SysCnt as u32 => core.issued,
            w if w == Special::RsvdCnt as u32 => core.vector.rsvd_cnt,
            other => {
                let detail = format!("special register {other} is not one of the interface's");
                let site = core.site(self.block, Pipe::S, core.issued, "special");
                return Err(at_site(Stop::fault(FaultKind::Operand, detail), site));
            }
        };
        Ok(value)
    }

    /// Wrong use of an AscendC class, found by its header.
    pub(super) fn api_fault(&self, c: usize, kind: u32, text: String) -> Stop {
        let stop = match kind {
            0 => Stop::fault(FaultKind::Api, text),
            2 => Stop::fault(FaultKind::NoSuchPath, text),
            _ => Stop::unsupported(text),
        };
        let core = &self.cores[c];
        at_site(stop, core.site(self.block, Pipe::S, core.issued, "AscendC"))
    }
}

/// The scalar unit reaches GM and, on an AIV, UB.
fn scalar_address(kind: CoreKind, raw: u64, bytes: u32) -> Result<Addr, Stop> {
    if !matches!(bytes, 1 | 2 | 4 | 8) {
        let detail = format!("{bytes} bytes; the scalar unit moves 1, 2, 4 or 8");
        return Err(Stop::fault(FaultKind::Operand, detail));
    }
    let addr = Addr::decode(raw)
        .ok_or_else(|| Stop::fault(FaultKind::OutOfBounds, format!("address = {raw:#x} is no address")))?;
    match (addr.space, kind) {
        (Space::Gm, _) | (Space::Ub, CoreKind::Aiv) => Ok(addr),
        (space, _) => {
            let reach = if kind == CoreKind::Aiv { "GM and UB" } else { "GM" };
            let detail = format!("address lies in {space}; the scalar unit of this core reaches {reach}");
            Err(Stop::fault(FaultKind::NoSuchPath, detail))
        }
    }
}
