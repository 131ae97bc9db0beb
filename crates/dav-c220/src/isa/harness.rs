//! Runs single instructions on a fresh core, for the tests of the ISA.

use super::find;
use crate::access::{
    CubeAccumulate, DeviceMemory, Dispatch, Elem, Exec, Gm, Instr, LocalMem, Mode, Registers, Space, Stop,
    VectorState, MAX_ARGS,
};
use ascend_soc::Soc;

/// A core that has every memory, so that one serves AIC and AIV instructions.
pub(crate) struct TestCore {
    pub(crate) mode: Mode,
    pub(crate) memory: DeviceMemory,
    pub(crate) local: [LocalMem; 7],
    pub(crate) vector: VectorState,
    pub(crate) regs: Registers,
}

impl TestCore {
    pub(crate) fn new() -> Self {
        let soc = Soc::by_name("Ascend910B2").unwrap();
        let core = soc.core;
        let sizes = [
            core.ub_bytes,
            core.l1_bytes,
            core.l0a_bytes,
            core.l0b_bytes,
            core.l0c_bytes,
            core.bt_bytes,
            core.fb_bytes,
        ];
        let mode = Mode { is_dry: false, cube_accumulate: CubeAccumulate::F32Sequential };
        let regs = Registers::at_entry(true);
        let local = std::array::from_fn(|i| {
            let space = Space::LOCAL[i];
            let reserved =
                if matches!(space, Space::Ub | Space::L1) { core.reserved_bytes as usize } else { 0 };
            LocalMem::new(sizes[i] as usize, reserved).unwrap()
        });
        Self { mode, memory: DeviceMemory::new(1 << 30), local, vector: VectorState::default(), regs }
    }

    /// Address operand for an on-chip byte offset.
    pub(crate) fn at(space: Space, offset: u64) -> u64 {
        ((space as u64) << 48) + offset
    }

    /// Writes bytes on-chip and marks them initialised.
    pub(crate) fn put(&mut self, space: Space, at: usize, data: &[u8]) {
        let memory = &mut self.local[space.local_index()];
        memory.bytes[at..at + data.len()].copy_from_slice(data);
        memory.init.set(at, data.len(), true);
    }

    pub(crate) fn get(&self, space: Space, at: usize, len: usize) -> &[u8] {
        &self.local[space.local_index()].bytes[at..at + len]
    }

    /// Executes one intrinsic with the current registers.
    pub(crate) fn run(
        &mut self,
        mnemonic: &str,
        elem: Elem,
        elem_dst: Elem,
        args: &[u64],
    ) -> Result<(), Stop> {
        let op = find(mnemonic).unwrap_or_else(|| panic!("{mnemonic} is not in the table"));
        let mut all = [0; MAX_ARGS];
        all[..args.len()].copy_from_slice(args);
        let instr = Instr {
            op,
            elem,
            elem_dst,
            args: all,
            num_args: u32::try_from(args.len()).unwrap(),
            regs: self.regs,
            number: 0,
        };
        match op.dispatch {
            Dispatch::Queued(_, run) => {
                let gm = Gm::new(self.memory.snapshot(), args);
                let mut exec = Exec {
                    instr: &instr,
                    mode: self.mode,
                    gm: &gm,
                    local: &mut self.local,
                    vector: &mut self.vector,
                    order: None,
                    touched: None,
                };
                run(&mut exec, &instr)
            }
            Dispatch::Register(set) => {
                set(&mut self.regs, &instr);
                Ok(())
            }
            _ => panic!("{mnemonic} is not executed by one core alone"),
        }
    }
}
