//! C structures shared with `ascendc/sim/machine_abi.h`: how a host build of a kernel talks to the machine.
//!
//! A kernel image is a shared library that exports `fasim_image`. Sizes and offsets are tested on both sides.

use std::ffi::c_char;

use super::MAX_ARGS;

/// Version of this interface; an image built against another is refused.
pub const ABI_VERSION: u32 = 1;

/// One intrinsic as the kernel issued it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FasimInstr {
    /// Index into [`FasimImage::ops`].
    pub op: u16,
    /// Source (or only) element type.
    pub elem: u8,
    /// Destination element type, or 0.
    pub elem_dst: u8,
    pub num_args: u32,
    pub args: [u64; MAX_ARGS],
}

/// Entry points of the machine. Each returns 0, or 1 when the core must stop (the C++ side then unwinds).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FasimHooks {
    pub abi_version: u32,
    pub reserved: u32,
    pub issue: unsafe extern "C" fn(*const FasimInstr) -> i32,
    /// Scalar load of 1, 2, 4 or 8 bytes from GM or UB (LocalTensor/GlobalTensor::GetValue).
    pub scalar_load: unsafe extern "C" fn(u64, u32, *mut u64) -> i32,
    pub scalar_store: unsafe extern "C" fn(u64, u32, u64) -> i32,
    /// Reads a special register, see [`Special`].
    pub special: unsafe extern "C" fn(u32, *mut u64) -> i32,
    /// What a call finds before it issues anything: kind 0 wrong use of an AscendC class, 1 not modelled, 2
    /// a data path that the chip lacks.
    pub api_fault: unsafe extern "C" fn(u32, *const c_char) -> i32,
}

/// Special registers that the kernel can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Special {
    /// Block number (AIC and AIV alike: the group, `get_block_idx`).
    BlockIdx = 0,
    /// Launched blocks (`get_block_num`).
    BlockNum = 1,
    /// 0 on AIC, 0 or 1 on AIV (`get_subblockid`).
    SubBlockId = 2,
    /// AIVs per block (`get_subblockdim`).
    SubBlockDim = 3,
    /// 0 = AIC, 1 = AIV.
    CoreType = 4,
    /// Sum of `vcadd` in mode 1 (`get_acc_val`).
    AccVal = 5,
    /// Running maximum (`get_max_min_cnt`).
    MaxMinCnt = 6,
    /// CTRL register (`get_ctrl`).
    Ctrl = 7,
    /// 50 MHz counter (`get_sys_cnt`). Here: instructions issued by this core, also with model time.
    SysCnt = 8,
    /// Elements that the last `vreducev2` kept (`get_rsvd_cnt`).
    RsvdCnt = 9,
}

/// The function of a kernel: argument slots and their number.
pub type LaunchFn = unsafe extern "C" fn(*const u64, u32) -> i32;

/// A kernel in an image.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FasimKernel {
    pub name: *const c_char,
    /// Calls the kernel with its arguments unpacked from 8-byte slots. 0, or 1 when stopped by the machine.
    pub launch: Option<LaunchFn>,
    pub num_args: u32,
    /// See [`KernelType`].
    pub kernel_type: u32,
}

/// `KERNEL_TYPE_*` of `KERNEL_TASK_TYPE_DEFAULT`. Values are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum KernelType {
    /// Blocks are single AIVs.
    AivOnly = 0,
    /// Blocks are single AICs.
    AicOnly = 1,
    /// One AIC and two AIVs a block.
    MixAic1Aiv2 = 2,
    /// One AIC and one AIV a block.
    MixAic1Aiv1 = 3,
}

/// What `fasim_image` returns; lives as long as the library is loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FasimImage {
    pub abi_version: u32,
    pub num_ops: u32,
    /// Mnemonics in the order of `FasimInstr::op`.
    pub ops: *const *const c_char,
    pub num_kernels: u32,
    pub reserved: u32,
    pub kernels: *const FasimKernel,
    pub bind: Option<unsafe extern "C" fn(*const FasimHooks)>,
}
