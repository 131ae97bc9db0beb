//! Tensors without elements.

use std::ptr::null_mut;

use fastattention::attention::{host, plan, FlashAttention, Mask};
use fastattention::baseline::{self, Add, AddTiling, MemoryCopy, StandardArgs, StandardAttention};
use fastattention::matmul::{self, Matmul};
use fastattention::parallel::{self, AttentionArgs, AttentionMatmul, LinearArgs, TilingAllReduce};
use fastattention::runtime::{Communicator, HostBuffer, ReduceOp};
use fastattention_testkit::compare::{assert_all, assert_same};

use super::*;

#[test]
fn buffers_and_copies() {
    let device = device();
    let free = device.memory_info().unwrap().free_bytes;
    let stream = Stream::new(&device).unwrap();
    let none: [u64; 0] = [];
    // SAFETY: no byte is given.
    let of_null = unsafe { Buffer::from_raw(&device, null_mut(), 0) }.unwrap();
    for buffer in [Buffer::alloc(&device, 0).unwrap(), Buffer::from_slice(&device, &none).unwrap(), of_null] {
        assert_eq!((buffer.len_bytes(), buffer.device_ptr(), buffer.as_raw()), (0, 0, null_mut()));
        assert!(format!("{buffer:?}").contains("len_bytes: 0"), "{buffer:?}");
        buffer.copy_from_host(&none).unwrap();
        buffer.copy_to_host(&mut [0u8; 0]).unwrap();
        assert!(buffer.copy_from_host(&[1u8]).is_err() && buffer.copy_to_host(&mut [1u8]).is_err());
        buffer.zero().unwrap();
        stream.zero(&buffer).unwrap();
        stream.copy(&buffer, &buffer.clone()).unwrap();
        let full = Buffer::from_slice(&device, &[5u64]).unwrap();
        stream.copy(&buffer, &full).unwrap();
        assert!(stream.copy(&full, &buffer).is_err());
        let mut host = HostBuffer::alloc(&device, 0).unwrap();
        assert!(host.is_empty() && host.iter_mut().next().is_none());
        assert!(bytemuck::cast_slice::<u8, u64>(&host).is_empty(), "aligned for any number");
        host = stream.copy_to_device(host, &buffer).unwrap().wait().unwrap();
        host = stream.copy_to_host(&full, host).unwrap().wait().unwrap();
        assert_eq!(format!("{host:?}"), "HostBuffer { len_bytes: 0, .. }");
        stream.synchronize().unwrap();
        let mut words = [0u64];
        full.copy_to_host(&mut words).unwrap();
        assert_eq!(words, [5]);
    }
    // SAFETY: refused, so that no byte is used.
    assert!(unsafe { Buffer::from_raw(&device, null_mut(), 1) }.is_err());
    drop(stream);
    assert_eq!(device.memory_info().unwrap().free_bytes, free);
    device.close().unwrap();
}

#[test]
fn attention() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    for mask in [Mask::None, Mask::Causal] {
        for [batch, seqlen_q, seqlen_k] in [[0, 5, 5], [2, 0, 5], [2, 0, 0], [2, 5, 0]] {
            let problem =
                Problem::new(DType::F16, [batch, seqlen_q, 2, 16]).with_seqlen_k(seqlen_k).with_mask(mask);
            let plan = plan(&problem, soc()).unwrap();
            assert!(plan.to_string().lines().count() > 1 && !plan.to_string().contains("NaN"), "{plan}");
            let elements = |seqlen: u32| (batch * seqlen * 2 * 16) as usize;
            let (q, k) = (ramp(elements(seqlen_q)), ramp(elements(seqlen_k)));
            let out = host::attention_on(&operator, &problem, &q, &k, &k).unwrap();
            assert_eq!((out.o.len(), out.lse.len()), (elements(seqlen_q), elements(seqlen_q) / 16));
            assert_all(&out.o, &f16::ZERO, "o");
            assert_all(&out.lse, &f32::NEG_INFINITY, "lse");
        }
    }
}

#[test]
fn products() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let product = Matmul::new(&device).unwrap();
    for [m, n, k] in [[0, 8, 8], [8, 0, 8], [8, 8, 0], [0, 0, 0], [1, 1, 0]] {
        for batch in [[1, 1, 1], [2, 0, 3], [2, 1, 3]] {
            let problem = matmul::Problem::new(DType::F16, [m, n, k]).with_batch(batch);
            let plan = matmul::plan(&problem, soc()).unwrap();
            let text = plan.to_string();
            assert!(text.contains("estimate 0 cycles") && plan.predicted_us() == 0.0, "{text}");
            let [a, b, c] = problem
                .operand_bytes()
                .map(|len| Buffer::from_slice(&device, &vec![f16::NAN; bytes(len) / 2]).unwrap());
            let args = matmul::Args::new(&a, &b, &c);
            product.launch(&stream, &plan, args).unwrap();
            stream.synchronize().unwrap();
            let mut out = vec![f16::NAN; c.len_bytes() / 2];
            c.copy_to_host(&mut out).unwrap();
            assert_eq!(out.len() as u64, u64::from(m * n * batch.iter().product::<u32>()));
            if k == 0 {
                let bits: Vec<u16> = out.iter().map(|x| x.to_bits()).collect();
                assert_all(&bits, &0, "a product without sums");
            }
        }
    }
}

#[test]
fn attention_with_a_product() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let both = AttentionMatmul::new(&device).unwrap();
    let case = Attention::new(&device);
    let tensor = || Buffer::from_slice(&device, &ramp(64 * 64)).unwrap();
    let (b, c) = (tensor(), tensor());
    for extents in [[0, 32, 64], [64, 32, 0], [64, 0, 64]] {
        let plan = matmul::plan(&matmul::Problem::new(DType::F16, extents), soc()).unwrap();
        let product = matmul::Args::new(&case.o, &b, &c);
        case.o.copy_from_host(&[f16::ONE; 64 * 64]).unwrap();
        both.launch(&stream, (&case.plan, case.args()), (&plan, product)).unwrap();
        stream.synchronize().unwrap();
        let mut o = [f16::ONE; 64 * 64];
        case.o.copy_to_host(&mut o).unwrap();
        assert_ne!(o, [f16::ONE; 64 * 64], "the attention ran");
    }
    let mut out = [f16::ONE; 64 * 64];
    c.copy_to_host(&mut out).unwrap();
    assert_all(&out[..64 * 32], &f16::ZERO, "the product");
    assert_same(&out[64 * 32..], &ramp(64 * 64)[64 * 32..], "behind the product");
}

#[test]
fn layers() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let mut layer = TilingAllReduce::alone(&device).unwrap();
    let none = Buffer::alloc(&device, 0).unwrap();
    let weight = Buffer::from_slice(&device, &ramp(64 * 64)).unwrap();
    for sequences in [vec![], vec![parallel::Sequence { seqlen_q: 0, seqlen_k: 7 }]] {
        let problem = parallel::Problem::new(DType::F16, [1, 64, 2, 32], 64, 1).with_sequences(sequences);
        for plan in [parallel::plan(&problem, soc()), parallel::plan_with(&problem, soc(), &[])] {
            let plan = plan.unwrap();
            assert!(plan.blocks().is_empty() && !plan.to_string().contains("NaN"), "{plan}");
            assert_eq!((plan.operand_bytes(), plan.workspace_bytes()), ([0; 5], 0));
            let attention = AttentionArgs::new(&none, &none, &none, &none);
            let linear = LinearArgs::Weight((&weight).into());
            let args = parallel::Args::new(&none, linear, &none).with_attention(attention);
            layer.launch(&stream, &plan, args).unwrap();
        }
    }
    stream.synchronize().unwrap();
}

#[test]
fn what_attention_is_compared_with() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let none = Buffer::alloc(&device, 0).unwrap();
    let empty = || Operand::from(&none);
    let tiling = AddTiling { tile: 256, buffers: 2, num_cores: 1, y_gap_bytes: 0, past_l2: false };
    Add::new(&device).unwrap().launch(&stream, tiling, DType::F16, 0, [empty(); 3]).unwrap();
    MemoryCopy::new(&device).unwrap().launch(&stream, 1, 0, empty(), empty()).unwrap();

    let unfused = StandardAttention::new(&device).unwrap();
    for (problem, mask) in [
        (Problem::new(DType::F16, [1, 3, 2, 16]).with_seqlen_k(0), None),
        (Problem::new(DType::F16, [1, 3, 2, 16]).with_seqlen_k(0).with_mask(Mask::Causal), Some(empty())),
        (Problem::new(DType::F16, [1, 0, 2, 16]), None),
    ] {
        let plan = baseline::plan(&problem, DType::F32, soc()).unwrap();
        let [q, k, v, o, _] = problem.shape().operand_bytes().map(|len| ramp(bytes(len) / 2));
        let [q, k, v, o] = [q, k, v, o].map(|data| Buffer::from_slice(&device, &data).unwrap());
        let workspace = Buffer::alloc(&device, bytes(plan.workspace_bytes())).unwrap();
        let args = StandardArgs { mask, ..StandardArgs::new(&q, &k, &v, &o, &workspace) };
        unfused.launch(&stream, &plan, args).unwrap();
        stream.synchronize().unwrap();
        let mut out = vec![f16::ONE; o.len_bytes() / 2];
        o.copy_to_host(&mut out).unwrap();
        assert_all(&out, &f16::ZERO, "o");
    }
}

#[test]
fn collectives() {
    let devices = [device(), device()];
    let comms = Communicator::init_all(&devices).unwrap();
    let lanes: Vec<_> = comms
        .iter()
        .map(|comm| {
            let stream = Stream::new(comm.device()).unwrap();
            let none = Buffer::alloc(comm.device(), 0).unwrap();
            let job = (0, DType::F32);
            comm.all_reduce(&stream, &none, &none, job, ReduceOp::Sum).unwrap();
            comm.reduce_scatter(&stream, &none, &none, job, ReduceOp::Sum).unwrap();
            comm.all_gather(&stream, &none, &none, job).unwrap();
            comm.broadcast(&stream, &none, job, 1).unwrap();
            match comm.rank() {
                0 => comm.send(&stream, &none, job, 1).unwrap(),
                _ => comm.recv(&stream, &none, job, 0).unwrap(),
            }
            stream
        })
        .collect();
    lanes.iter().for_each(|stream| stream.synchronize().unwrap());
}
