//! Every flag and every barrier of `merge` is needed, and the machine reports the absence of each.

#![allow(unsafe_code, reason = "loads the compiled mutants")]

use std::fmt::Write as _;
use std::fs;

use fastattention::kernels::operands::MergeOperands;
use fastattention::merge::{plan, Problem};
use fastattention::runtime::{Buffer, Device, Module, Stream};
use fastattention::{sim, DType, ErrorKind, Soc};
use fastattention_testkit::kernels::{ascendc, Registration};

/// Rings without the flags of one direction: nobody waits until a buffer is full, or until it is free.
const BROKEN_RINGS: &str = "
namespace fa {
template <AscendC::HardEvent kFull, AscendC::HardEvent kFree, int32_t kFirstId, uint32_t kCount>
class UnfilledRing : public Ring<kFull, kFree, kFirstId, kCount> {
  public:
    __aicore__ inline void publish(uint32_t) {}
    __aicore__ inline void await(uint32_t) {}
};
template <AscendC::HardEvent kFull, AscendC::HardEvent kFree, int32_t kFirstId, uint32_t kCount>
class UnfreedRing {
  public:
    __aicore__ inline uint32_t acquire() {
        const uint32_t slot = next_;
        next_ = (next_ + 1) % kCount;
        return slot;
    }
    __aicore__ inline void publish(uint32_t slot) {
        AscendC::SetFlag<kFull>(kFirstId + static_cast<int32_t>(slot));
    }
    __aicore__ inline void await(uint32_t slot) {
        AscendC::WaitFlag<kFull>(kFirstId + static_cast<int32_t>(slot));
    }
    __aicore__ inline void release(uint32_t) {}

  private:
    uint32_t next_ = 0;
};
}  // namespace fa
";

const RINGS: [&str; 3] = ["lse_ring_", "part_ring_", "out_ring_"];
/// Synchronisation that something else covers today, and why it stays.
const REDUNDANT: &[(&str, &str)] = &[(
    "UnfreedRing< lse_ring_",
    "the parts of the tile before are loaded later by the same pipe, and wait for V; a ring has both edges",
)];
const BARRIER: &str = "AscendC::PipeBarrier<PIPE_V>();";
const PARAMS: &str = "FA_MERGE_OPERANDS(FA_PARAMETER, FA_COMMA)";

/// Types that a mutant is run with: with and without a sum of its own and a cast.
const TYPES: [(&str, DType, DType); 3] = [
    ("half, half", DType::F16, DType::F16),
    ("float, float", DType::F32, DType::F32),
    ("float, half", DType::F32, DType::F16),
];

/// The kernel's text, and with one thing taken out.
fn mutants() -> Vec<(String, String)> {
    let text = fs::read_to_string(ascendc().join("kernels/merge.cpp")).unwrap();
    let original = text.split("\n#undef FA_").next().unwrap();
    let mut mutants = vec![("nothing".to_owned(), original.to_owned())];
    for name in RINGS {
        let line = original.lines().find(|l| l.trim().starts_with("Ring<") && l.contains(name)).unwrap();
        for broken in ["UnfilledRing<", "UnfreedRing<"] {
            mutants
                .push((format!("{broken} {name}"), original.replace(line, &line.replace("Ring<", broken))));
        }
    }
    for flag in ["SetFlag", "WaitFlag"] {
        assert_eq!(
            original.matches(&format!("AscendC::{flag}<AscendC::HardEvent::V_MTE2>(kClearedId);")).count(),
            1
        );
    }
    let cleared = original
        .replace("AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kClearedId);", "")
        .replace("AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kClearedId);", "");
    mutants.push(("kClearedId".to_owned(), cleared));
    for (number, (at, _)) in original.match_indices(BARRIER).enumerate() {
        let before = original[..at].trim_end().lines().last().unwrap().trim();
        let without = format!("{}{}", &original[..at], &original[at + BARRIER.len()..]);
        mutants.push((format!("barrier {number} after {before}"), without));
    }
    assert!(mutants.len() > 15, "{}", mutants.len());
    mutants
}

fn compile(mutants: &[(String, String)]) -> Vec<u8> {
    let kernels = ascendc().join("kernels");
    let mut unit = format!("#include \"fa/sync.h\"\n{BROKEN_RINGS}");
    let mut names = Vec::new();
    for (index, (_, text)) in mutants.iter().enumerate() {
        let space = format!("namespace mutant_{index} {{ using namespace fa;");
        let text = text.replace("namespace fa {", &space);
        unit += &text.replace("\"families.h\"", &format!("{:?}", kernels.join("families.h")));
        for (number, (types, ..)) in TYPES.iter().enumerate() {
            let name = format!("kernel_{index}_{number}");
            write!(unit, "\nFA_ENTRY(MERGE, {name}, mutant_{index}::merge<{types}>)\n").unwrap();
            names.push(name);
        }
    }
    let registrations: Vec<_> =
        names.iter().map(|name| Registration { name, params: PARAMS, kernel_type: "kAivOnly" }).collect();
    fastattention_testkit::kernels::compile(&unit, &registrations)
}

/// The first fault that a mutant meets: two sources, several tiles of one core, the last one with a tail.
fn fault(image: &[u8], index: usize) -> Option<String> {
    TYPES.iter().enumerate().find_map(|(number, &(_, dtype, dtype_out))| {
        let mut config = sim::Config::new(Soc::by_name("Ascend910B2").unwrap());
        config.threads = 1;
        let device = Device::simulated(config).unwrap();
        let problem = Problem::new(dtype, 5, [1, 300, 1, 128]).with_dtype_out(dtype_out);
        let plan = plan(&problem, device.soc()).unwrap();
        let [[o_bytes, lse_bytes]]: [_; 1] = plan.problem().source_bytes().try_into().unwrap();
        let written = |bytes: u64| Buffer::from_slice(&device, &vec![0u8; bytes as usize]).unwrap();
        let (o_parts, lse_parts) = (written(o_bytes), written(lse_bytes));
        let [o, lse] = plan.problem().operand_bytes().map(|b| Buffer::alloc(&device, b as usize).unwrap());
        let mut tiling = plan.tiling_data(&[[o_parts.device_ptr(), lse_parts.device_ptr()]]).unwrap();
        (tiling.num_cores, tiling.tile_rows) = (1, tiling.tile_rows.min(32));
        // SAFETY: the library was compiled above from this crate's kernel and its simulator headers.
        let module = unsafe { Module::load(&device, image) }.unwrap();
        let kernel = module.kernel(&format!("kernel_{index}_{number}")).unwrap();
        let stream = Stream::new(&device).unwrap();
        let args = MergeOperands { o: (&o).into(), lse: (&lse).into(), tiling: &tiling }.args().unwrap();
        let error = kernel.launch(&stream, 1, &args).and_then(|()| stream.synchronize()).err()?;
        assert_eq!(error.kind(), ErrorKind::SimFault, "{error}");
        Some(error.to_string().lines().last().unwrap_or_default().to_owned())
    })
}

#[test]
fn every_flag_and_barrier_is_needed_and_its_absence_reported() {
    let mutants = mutants();
    let image = compile(&mutants);
    let mut wrong = Vec::new();
    for (index, (what, _)) in mutants.iter().enumerate() {
        let is_reported = |text: &str| text.contains("Fault: Race") || text.contains("Fault: Uninitialised");
        let is_listed = REDUNDANT.iter().any(|(listed, _)| what == listed);
        match fault(&image, index) {
            Some(text) if is_listed => wrong.push(format!("{what}: listed as redundant, but {text}")),
            None if index > 0 && !is_listed => wrong.push(format!("{what}: not reported")),
            Some(text) if index == 0 || !is_reported(&text) => wrong.push(format!("{what}: {text}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
