//! A real GPU, where `FA_CUDA_DEVICE` gives its number.

#![allow(unsafe_code, reason = "launches on memory given by its address")]

use std::time::Instant;

use fastattention::attention::host::Output;
use fastattention::attention::{Mask, Problem};
use fastattention::cuda::cudarc::driver::{CudaContext, CudaSlice, DevicePtr, DevicePtrMut};
use fastattention::cuda::{host, plan, plan_serving, Args, Device, RawMemory};
use fastattention::{DType, ErrorKind};
use fastattention_testkit::cases::{Case, Layout, Values};
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::data::{operands, problem};
use fastattention_testkit::run::compared;
use half::f16;

use crate::{packed, serving, table};

/// The number of the device; `None`, with a line that says so, without the variable.
fn ordinal() -> Option<usize> {
    match std::env::var("FA_CUDA_DEVICE") {
        Ok(text) => Some(text.trim_start_matches("cuda:").parse().unwrap_or_else(|_| {
            panic!("FA_CUDA_DEVICE = {text:?} given, a number wanted");
        })),
        Err(_) => {
            println!("skipped: FA_CUDA_DEVICE names no GPU");
            None
        }
    }
}

fn device() -> Option<Device> {
    ordinal().map(|ordinal| Device::open(ordinal).unwrap())
}

/// Long enough for several blocks, waves and splits on any GPU.
fn long() -> Vec<Case> {
    let case = |batch, seqlen_q, num_heads, num_heads_k, head_dim, seqlen_k, mask| Case {
        dtype: DType::F16,
        score_dtype: DType::F32,
        batch,
        num_heads,
        num_heads_k,
        head_dim,
        head_dim_v: head_dim,
        seqlen_q,
        seqlen_k,
        mask,
        softmax_scale: None,
        values: Values::Normal,
        layout: Layout::Bsnd,
        seed: 77,
    };
    vec![
        case(1, 1024, 4, 2, 128, 1024, Mask::Causal),
        case(2, 700, 4, 4, 64, 1100, Mask::None),
        case(1, 512, 3, 1, 256, 900, Mask::Causal),
        case(1, 1, 32, 8, 128, 16384, Mask::None),
        case(4, 2, 32, 4, 64, 5000, Mask::Causal),
        case(1, 1, 4, 4, 256, 30000, Mask::Window { left: Some(20000), right: None }),
    ]
}

#[test]
fn gpu_agrees_with_f64() {
    let Some(device) = device() else { return };
    let (major, minor) = device.driver_version();
    println!("{}; driver of CUDA {major}.{minor}", device.facts());
    let (mut failures, mut kernels) = (Vec::new(), std::collections::BTreeMap::<&str, u32>::new());
    let cases: Vec<Case> = table::all().into_iter().chain(long()).collect();
    let start = Instant::now();
    for case in &cases {
        let [q, k, v] = &operands::<f16>(case);
        let kernel = plan(&problem(case), device.facts()).map(|plan| plan.kernel());
        *kernels.entry(kernel.ok().flatten().unwrap_or("none")).or_default() += 1;
        let out = host::attention_on(&device, &problem(case), &q.data, &k.data, &v.data);
        let checked = out
            .map_err(|error| error.to_string())
            .and_then(|out| compared(case, &operands::<f16>(case), &out, &table::softmax_error, 0.0).check());
        if let Err(text) = checked {
            println!("FAIL {case:?}\n  {text}");
            failures.push(text);
        }
    }
    println!(
        "{} of {} problems agree, {:.0} s with the references; by kernel: {kernels:?}",
        cases.len() - failures.len(),
        cases.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(failures.is_empty(), "{} problems fail", failures.len());
}

/// One plan, launched on a stream of the caller, twice, with memory of three kinds: the same bits each time.
#[test]
fn gpu_takes_the_streams_and_memory_of_the_caller() {
    let Some(ordinal) = ordinal() else { return };
    let context = CudaContext::new(ordinal).unwrap();
    let device = Device::attach(&context).unwrap();
    let problem = Problem::new(DType::F16, [1, 3, 8, 64]).with_num_heads_k(2).with_seqlen_k(3000).with_lse();
    let plan = plan(&problem, device.facts()).unwrap();
    assert!(plan.num_splits() > 1, "{plan}");
    device.prepare(&plan).unwrap();
    let (stream, other) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let mut rng = fastrand::Rng::with_seed(3);
    let mut random = |len: usize| -> CudaSlice<u16> {
        let host: Vec<u16> = (0..len).map(|_| f16::from_f32(rng.f32() - 0.5).to_bits()).collect();
        other.clone_htod(&host).unwrap()
    };
    // What another stream uploads is waited for: cudarc records it with each slice.
    let (q, kv) = (random(3 * 8 * 64), random(2 * 3000 * 2 * 64));
    let (k, v) = kv.split_at(3000 * 2 * 64);
    let mut o = stream.alloc_zeros::<u16>(3 * 8 * 64).unwrap();
    let mut lse = stream.alloc_zeros::<f32>(8 * 3).unwrap();
    let mut workspace = stream.alloc_zeros::<u8>(usize::try_from(plan.workspace_bytes()).unwrap()).unwrap();
    let args = Args::new(&stream, &q, &k, &v, &mut o).with_lse(&mut lse).with_workspace(&mut workspace);
    device.launch(&plan, args).unwrap();
    let first = (other.clone_dtoh(&o).unwrap(), other.clone_dtoh(&lse).unwrap());
    other.synchronize().unwrap();
    assert!(first.0.iter().any(|&x| x != 0) && first.1.iter().all(|x| x.is_finite()));

    // By addresses.
    let (mut raw_o, mut raw_lse) = (stream.clone_dtod(&o).unwrap(), stream.clone_dtod(&lse).unwrap());
    stream.memset_zeros(&mut raw_o).unwrap();
    {
        let at = |address, len: usize, size: u64| RawMemory { address, len_bytes: len as u64 * size };
        let [q_at, k_at, v_at] = [
            (q.device_ptr(&stream).0, q.len()),
            (k.device_ptr(&stream).0, k.len()),
            (v.device_ptr(&stream).0, v.len()),
        ]
        .map(|(address, len)| at(address, len, 2));
        let (o_len, lse_len, workspace_len) = (raw_o.len(), raw_lse.len(), workspace.len());
        let o_at = at(raw_o.device_ptr_mut(&stream).0, o_len, 2);
        let lse_at = at(raw_lse.device_ptr_mut(&stream).0, lse_len, 4);
        let workspace_at = at(workspace.device_ptr_mut(&stream).0, workspace_len, 1);
        // SAFETY: the slices live until the stream is synchronised below, and nothing else uses them.
        let args = unsafe { Args::from_raw(&stream, [q_at, k_at, v_at, o_at]) };
        // SAFETY: as above.
        let args = unsafe { args.with_raw_lse(lse_at) };
        // SAFETY: as above.
        let args = unsafe { args.with_raw_workspace(workspace_at) };
        device.launch(&plan, args).unwrap();
    }
    let second = (stream.clone_dtoh(&raw_o).unwrap(), stream.clone_dtoh(&raw_lse).unwrap());
    stream.synchronize().unwrap();
    assert_same(&second.0, &first.0, "o");
    assert_same(&second.1, &first.1, "lse");
}

/// Slots whose lengths and pages are in device memory; one plan also for lengths that are changed there.
#[test]
fn gpu_serves_slots() {
    let Some(device) = device() else { return };
    let stream = device.context().default_stream();
    let cases = packed::cases();
    for case in &cases {
        let tensors = case.tensors::<f16>();
        let plan = plan_serving(&serving::problem(case), device.facts()).unwrap();
        let [q, k, v] = [&tensors.q, &tensors.k, &tensors.v].map(|data| {
            let bits: Vec<u16> = data.iter().map(|x| x.to_bits()).collect();
            stream.clone_htod(&bits).unwrap()
        });
        let [.., o_bytes, lse_bytes] = plan.operand_bytes().map(|bytes| usize::try_from(bytes).unwrap());
        let mut o = stream.alloc_zeros::<u16>(o_bytes / 2).unwrap();
        let mut lse = stream.alloc_zeros::<f32>(lse_bytes / 4).unwrap();
        let mut workspace =
            stream.alloc_zeros::<u8>(usize::try_from(plan.workspace_bytes()).unwrap().max(16)).unwrap();
        let starts = case.rows.is_some().then(|| stream.clone_htod(&tensors.row_starts).unwrap());
        let table = (!tensors.table.is_empty()).then(|| stream.clone_htod(&tensors.table).unwrap());
        let wild: Vec<i32> = tensors
            .lengths
            .iter()
            .map(|&n| match n {
                0 => i32::MIN,
                n if n.unsigned_abs() == case.base.seqlen_k => i32::MAX,
                n => n,
            })
            .collect();
        for lengths in [&tensors.lengths, &wild] {
            let lengths = stream.clone_htod(lengths).unwrap();
            let args = Args::new(&stream, &q, &k, &v, &mut o).with_lse(&mut lse).with_lengths(&lengths);
            let args = args.with_workspace(&mut workspace);
            let args = if let Some(table) = &table { args.with_block_table(table) } else { args };
            let args = if let Some(starts) = &starts { args.with_row_starts(starts) } else { args };
            device.launch(&plan, args).unwrap();
            let o = stream.clone_dtoh(&o).unwrap().into_iter().map(f16::from_bits).collect();
            serving::compare(case, &tensors, &Output { o, lse: stream.clone_dtoh(&lse).unwrap() });
        }
        // Operands that are missing.
        let text = device.launch(&plan, Args::new(&stream, &q, &k, &v, &mut o)).unwrap_err().to_string();
        assert!(text.contains("lengths is missing, but the plan is of slots"), "{text}");
        let packed = "row_starts is missing, but q is packed";
        assert_eq!(text.contains(packed), case.rows.is_some(), "{text}");
        assert_eq!(
            text.contains("block_table is missing, but the plan has pages"),
            case.kv.pages.is_some(),
            "{text}"
        );
    }
    println!("{} problems of slots agree", cases.len());
}

#[test]
fn gpu_launches_refuse_operands_that_are_wrong() {
    let Some(device) = device() else { return };
    let problem = Problem::new(DType::F16, [1, 16, 2, 64]).with_lse();
    let plan = plan(&problem, device.facts()).unwrap();
    let stream = device.context().default_stream();
    let alloc = |len: usize| stream.alloc_zeros::<u16>(len).unwrap();
    let (q, short, mut o) = (alloc(2048), alloc(2047), alloc(2048));
    let mut lse = stream.alloc_zeros::<f32>(32).unwrap();
    let error = device.launch(&plan, Args::new(&stream, &q, &short, &q, &mut o)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    let missing = "lse is missing, but the plan writes it";
    assert_eq!(text, format!("attention launch: k has 4094 bytes, the plan needs 4096; {missing}"));
    let shifted = alloc(2049);
    let view = shifted.slice(1..);
    let error =
        device.launch(&plan, Args::new(&stream, &view, &view, &view, &mut o).with_lse(&mut lse)).unwrap_err();
    let text = error.to_string();
    for name in ["q", "k", "v"] {
        assert!(
            text.contains(&format!("{name} starts at address 0x"))
                && text.contains("a multiple of 16 wanted"),
            "{text}"
        );
    }
    // o on q.
    let at = RawMemory { address: q.device_ptr(&stream).0, len_bytes: 4096 };
    // SAFETY: the launch is refused.
    let args = unsafe { Args::from_raw(&stream, [at; 4]) };
    let text = device.launch(&plan, args.with_lse(&mut lse)).unwrap_err().to_string();
    assert!(text.contains("o at [") && text.contains("is written and shares bytes with q at ["), "{text}");
    let count = CudaContext::device_count().unwrap();
    let error = Device::open(usize::try_from(count).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDevice);
    let text = error.to_string();
    assert!(text.starts_with(&format!("cuda:{count} given, ")) && text.contains("no more devices"), "{text}");
}
