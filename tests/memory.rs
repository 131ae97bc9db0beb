//! The point of FlashAttention: the scores of a whole head never exist in memory, neither on the device nor
//! in the simulator.

#![allow(unsafe_code, reason = "a global allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fastattention::attention::{plan, plan_with, Args, FlashAttention, Mask, Problem};
use fastattention::reference::{self, Params, Tensor};
use fastattention::runtime::{Buffer, Device, Stream};
use fastattention::{sim, DType, Soc};
use half::f16;

const SEQLEN: u32 = 8192;
const HEAD_DIM: u32 = 64;
/// The scores of the head in f16, the narrower of the two formats that the kernel keeps scores in. The
/// workspace itself is larger than one byte a score here: 24 cores times the blocks under way, 75 MiB
/// whatever the length.
const SCORES_BYTES: usize = 2 * (SEQLEN as usize).pow(2);

/// The system's allocator, and what was asked of it.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
    LARGEST.fetch_max(bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those of the system's allocator, which gave out `old`.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those of the system's allocator, which gave out `old`.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_has_the_size_of_the_scores() {
    let mut config = sim::Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.threads = 2;
    let device = Device::simulated(config).unwrap();
    let operator = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    let elements = (SEQLEN * HEAD_DIM) as usize;
    let mut rng = fastrand::Rng::with_seed(8192);
    let mut random = || (0..elements).map(|_| f16::from_f32(2.0 * rng.f32() - 1.0)).collect::<Vec<_>>();
    let data = [random(), random(), random()];
    let [q, k, v] = data.each_ref().map(|d| Buffer::from_slice(&device, d).unwrap());
    let o = Buffer::alloc(&device, elements * 2).unwrap();

    let free = || device.memory_info().unwrap().free_bytes;
    let free_before = free();
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    LARGEST.store(0, Relaxed);
    let problem = |seqlen| Problem::new(DType::F16, [1, seqlen, 1, HEAD_DIM]);
    let plan = plan(&problem(SEQLEN), device.soc()).unwrap();
    let workspace = usize::try_from(plan.workspace_bytes()).unwrap();
    let scratch = Buffer::alloc(&device, workspace).unwrap();
    let args = Args::new(&q, &k, &v, &o, &scratch);
    let (is_done, least_free) = (AtomicBool::new(false), AtomicUsize::new(free()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Relaxed) {
                least_free.fetch_min(free(), Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let result = operator.launch(&stream, &plan, args).and_then(|()| stream.synchronize());
        is_done.store(true, Relaxed);
        result.unwrap();
    });
    let on_device = free_before - least_free.load(Relaxed);
    let (largest, peak) = (LARGEST.load(Relaxed), PEAK.load(Relaxed) - before);

    // Device memory lies outside of the host's heap. What the heap has of it is a bit for each byte: were it
    // not seen, the figures would mean nothing.
    assert!(
        on_device >= workspace && largest >= workspace / 8 && peak >= workspace / 8,
        "on the device {on_device}, largest {largest}, peak {peak}, workspace {workspace}"
    );
    let peak = peak + on_device;
    assert!(workspace < SCORES_BYTES, "workspace of {workspace} bytes, scores take {SCORES_BYTES}");
    assert!(largest < SCORES_BYTES, "largest allocation {largest} bytes, scores take {SCORES_BYTES}");
    assert!(peak < SCORES_BYTES, "peak of {peak} bytes, scores take {SCORES_BYTES}");
    let longer = plan_with(&problem(8 * SEQLEN), device.soc(), plan.chosen()).unwrap().workspace_bytes();
    assert_eq!(longer, plan.workspace_bytes(), "the workspace grows with the sequence");

    let mut out = vec![f16::ZERO; elements];
    o.copy_to_host(&mut out).unwrap();
    check_first_rows(&data, &out);
}

fn check_first_rows([q, k, v]: &[Vec<f16>; 3], out: &[f16]) {
    let (seqlen, dim) = (SEQLEN as usize, HEAD_DIM as usize);
    let params = Params {
        batch: 1,
        num_heads: 1,
        num_heads_k: 1,
        head_dim: dim,
        head_dim_v: dim,
        seqlen_q: 16,
        seqlen_k: seqlen,
        softmax_scale: 1.0 / f64::from(HEAD_DIM).sqrt(),
        mask: Mask::None,
    };
    let tensor = |data| Tensor::dense(data, seqlen, 1, dim);
    let want = reference::attention(&params, tensor(q), tensor(k), tensor(v)).o;
    assert_eq!(want.len(), 16 * dim);
    for (i, (got, want)) in out.iter().zip(&want).enumerate() {
        // Averages of 8192 values of about 1/3 variance: a wrong or missing block of keys moves them by more.
        assert!((f64::from(*got) - want).abs() < 1e-4, "element {i}: {got} for {want}");
    }
}
