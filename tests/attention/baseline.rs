//! Kernels of benches and calibration: sums, copies, reads and single vector instructions.

#![allow(unsafe_code, reason = "loads a kernel image")]
use fastattention::baseline::{
    Add, AddTiling, MemoryCopy, Read, ReadFrom, ReadOrder, ReadTo, VectorOp, VectorOperand, VectorStream,
    VectorStreamTiling,
};
use fastattention::runtime::{Buffer, Device, KernelArgs, Module, Stream};
use fastattention::{sim, DType, ErrorKind, Soc};
use fastattention_testkit::compare::{assert_all, assert_same};
use fastattention_testkit::device::{device, simulator};
use half::f16;

/// A device and a stream of it.
fn lane(device: Device) -> (Device, Stream) {
    let stream = Stream::new(&device).unwrap();
    (device, stream)
}

#[test]
fn sums_are_exact_for_any_length_and_tiling() {
    let (device, stream) = lane(device(|_| ()));
    let add = Add::new(&device).unwrap();
    let small = AddTiling { tile: 256, buffers: 2, num_cores: 5, y_gap_bytes: 0, past_l2: false };
    for (n, tiling) in [
        (1, small),
        (255, small),
        (5000, small),
        (5000, AddTiling { buffers: 1, ..small }),
        (5001, AddTiling { y_gap_bytes: 256, num_cores: device.soc().vector_cores, ..small }),
        (40_000, AddTiling { tile: 8192, buffers: 2, num_cores: 3, y_gap_bytes: 256, past_l2: false }),
    ] {
        let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.37 - 100.0).collect();
        let y: Vec<f32> = (0..n).map(|i| 55.5 - (i % 997) as f32).collect();
        let [x_gm, y_gm] = [&x, &y].map(|data| Buffer::from_slice(&device, data).unwrap());
        let z_gm = Buffer::from_slice(&device, &vec![-1.0f32; n + 16]).unwrap();
        let operands = [(&x_gm).into(), (&y_gm).into(), (&z_gm).into()];
        // Three f32 tiles of 8192 do not fit twice; those of f16 do.
        if tiling.tile < 8192 {
            add.launch(&stream, tiling, DType::F32, n as u64, operands).unwrap();
            stream.synchronize().unwrap();
            let mut z = vec![0.0f32; n + 16];
            z_gm.copy_to_host(&mut z).unwrap();
            let sums: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            assert_same(&z[..n], &sums, &format!("{tiling:?}"));
            assert_all(&z[n..], &-1.0, &format!("behind the end of {n}, {tiling:?}"));
        }
        let [x, y] = [x, y].map(|data| data.into_iter().map(f16::from_f32).collect::<Vec<_>>());
        let [x_gm, y_gm] = [&x, &y].map(|data| Buffer::from_slice(&device, data).unwrap());
        let operands = [(&x_gm).into(), (&y_gm).into(), (&z_gm).into()];
        add.launch(&stream, tiling, DType::F16, n as u64, operands).unwrap();
        stream.synchronize().unwrap();
        let mut z = vec![f16::ZERO; n];
        z_gm.copy_to_host(&mut z).unwrap();
        for i in 0..n {
            // A sum of two f16 is exact in f64.
            assert_eq!(z[i], f16::from_f64(x[i].to_f64() + y[i].to_f64()), "{i} of {n} {tiling:?}");
        }
    }
}

#[test]
fn tilings_of_sums_that_do_not_work_are_refused() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let good = AddTiling { tile: 256, buffers: 2, num_cores: 5, y_gap_bytes: 0, past_l2: false };
    let text = |tiling: AddTiling| tiling.tiling_data(DType::F32, 10, soc).unwrap_err().to_string();
    assert_eq!(text(AddTiling { tile: 20, ..good }), "add: tile = 20 given, a multiple of 8 above 0 wanted");
    assert_eq!(
        text(AddTiling { y_gap_bytes: 16, ..good }),
        "add: y_gap_bytes = 16 given, a multiple of 32 wanted"
    );
    assert_eq!(text(AddTiling { buffers: 0, ..good }), "add: buffers = 0 given, 1 or 2 wanted");
    assert_eq!(text(AddTiling { num_cores: 49, ..good }), "add: num_cores = 49 given, 1 to 48 wanted");
    assert_eq!(
        text(AddTiling { tile: 8192, ..good }),
        "add: tile, buffers and y_gap_bytes take 196608 bytes of UB, at most 188160 wanted"
    );
    // Sources in different bank groups.
    let data = AddTiling { y_gap_bytes: 256, ..good }.tiling_data(DType::F32, 10, soc).unwrap();
    for i in 0..2 {
        assert_eq!((data.y_offset_bytes[i] - data.x_offset_bytes[i]) % 512, 256);
    }
}

#[test]
fn copies() {
    let (device, stream) = lane(device(|_| ()));
    let data: Vec<u8> = (0..100_003u32).map(|i| (i * 7 % 251) as u8).collect();
    let src = Buffer::from_slice(&device, &data).unwrap();
    let dst = Buffer::alloc(&device, data.len()).unwrap();
    let copy = MemoryCopy::new(&device).unwrap();
    copy.launch(&stream, 3, data.len() as u64, (&dst).into(), (&src).into()).unwrap();
    stream.synchronize().unwrap();
    let mut got = vec![0; data.len()];
    dst.copy_to_host(&mut got).unwrap();
    assert_eq!(got, data);
    let error = copy.launch(&stream, 3, 100_004, (&dst).into(), (&src).into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "copy launch: dst has 100003 bytes, the plan needs 100004; src has 100003 bytes, the plan needs 100004"
    );
}

static SIM_KERNELS: &[u8] = include_bytes!(env!("FA_BUILD_SIM_KERNELS"));

/// Nothing comes out of a read. That it reaches the last element is seen from the fault of a kernel whose
/// memory ends before it; that it goes no further, from the absence of one where the memory ends behind it.
#[test]
fn reads_reach_the_last_element_and_stay_inside() {
    let (device, stream) = lane(Device::open("sim").unwrap());
    let read = Read::new(&device).unwrap();
    let whole = ReadFrom::new([100, 130], [16, 64], 3);
    let shapes = [
        whole,
        ReadFrom { pitch: 137, ..whole },
        ReadFrom { pitch: 70_000, shape: [6, 40], num_cores: 2, slice_cols: 40, ..whole },
        ReadFrom { slice_cols: 50, passes: 3, ..whole },
        ReadFrom { order: ReadOrder::AllRows, ..whole },
        ReadFrom { order: ReadOrder::Rotated, passes: 2, ..whole },
        // More cores than rows.
        ReadFrom::new([3, 64], [1, 64], 8),
    ];
    for from in shapes {
        let bytes = usize::try_from(from.span_bytes()).unwrap();
        let src = Buffer::from_slice(&device, &vec![1u8; bytes]).unwrap();
        for to in [ReadTo::Ub, ReadTo::L1] {
            read.launch(&stream, &from, to, (&src).into()).unwrap();
            stream.synchronize().unwrap_or_else(|e| panic!("{from:?} {to:?}: {e}"));
        }
        let short = Buffer::from_slice(&device, &vec![1u8; bytes - 2]).unwrap();
        for (to, name) in [(ReadTo::Ub, "fa_read_ub"), (ReadTo::L1, "fa_read_l1")] {
            let error = read.launch(&stream, &from, to, (&short).into()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let data = from.tiling_data(to, device.soc()).unwrap();
            // A device that has failed is of no further use.
            let failing = Device::open("sim").unwrap();
            let short = Buffer::from_slice(&failing, &vec![1u8; bytes - 2]).unwrap();
            let args = KernelArgs::new().buffer(&short).place_holder(bytemuck::bytes_of(&data));
            // SAFETY: the image is the one that this crate's build script made.
            let module = unsafe { Module::load(&failing, SIM_KERNELS) }.unwrap();
            let failing = Stream::new(&failing).unwrap();
            module.kernel(name).unwrap().launch(&failing, from.num_cores, &args).unwrap();
            assert_eq!(failing.synchronize().unwrap_err().kind(), ErrorKind::SimFault, "{from:?} {to:?}");
        }
    }
}

#[test]
fn tiles_of_reads_that_do_not_work_are_refused() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let kind = |from: ReadFrom, to| from.tiling_data(to, soc).unwrap_err().kind();
    assert_eq!(kind(ReadFrom::new([64, 0], [1, 1], 1), ReadTo::Ub), ErrorKind::InvalidArgument);
    let error = ReadFrom { passes: 0, ..ReadFrom::new([64, 32], [1, 16], 2) }
        .tiling_data(ReadTo::Ub, soc)
        .unwrap_err();
    assert_eq!(error.to_string(), "read: passes = 0 given, at least 1 wanted");
    let narrow = ReadFrom { pitch: 31, ..ReadFrom::new([64, 32], [1, 16], 2) };
    assert_eq!(
        narrow.tiling_data(ReadTo::Ub, soc).unwrap_err().to_string(),
        "read: pitch = 31 given, at least the 32 columns of a row wanted"
    );
    assert_eq!(kind(ReadFrom::new([64, 64], [1, 1], 25), ReadTo::L1), ErrorKind::InvalidArgument);
    assert_eq!(kind(ReadFrom::new([64, 4096], [64, 2048], 1), ReadTo::Ub), ErrorKind::Unsupported);
    // The largest published tile fits UB once.
    let data = ReadFrom::new([12_288, 12_288], [64, 1024], 48).tiling_data(ReadTo::Ub, soc).unwrap();
    assert_eq!((data.buffers, data.buffer_bytes, data.core_rows), (1, 131_072, 256));
}

fn stream_of(op: VectorOp) -> VectorStreamTiling {
    VectorStreamTiling {
        op,
        count: 3,
        repeat: 5,
        barrier: true,
        scalar: 3.0,
        dst: VectorOperand::contiguous(0x20000),
        src0: VectorOperand::contiguous(0),
        src1: VectorOperand::contiguous(0x10100),
    }
}

#[test]
fn vector_instructions_on_ones() {
    let (device, stream) = lane(simulator(|_| ()));
    let vector = VectorStream::new(&device).unwrap();
    let out = Buffer::alloc(&device, 5 * 256).unwrap();
    for (op, want) in [
        (VectorOp::Add, 2.0),
        (VectorOp::Sub, 0.0),
        (VectorOp::Mul, 1.0),
        (VectorOp::Div, 1.0),
        (VectorOp::Max, 1.0),
        (VectorOp::Muls, 3.0),
        (VectorOp::Maxs, 3.0),
        (VectorOp::Exp, std::f32::consts::E),
        (VectorOp::Ln, 0.0),
        (VectorOp::Relu, 1.0),
        (VectorOp::Rsqrt, 1.0),
    ] {
        vector.launch(&stream, &stream_of(op), DType::F32, (&out).into()).unwrap();
        stream.synchronize().unwrap();
        let mut got = [0.0f32; 320];
        out.copy_to_host(&mut got).unwrap();
        assert!(got.iter().all(|&x| (x - want).abs() < 1e-6), "{op:?}: {}", got[0]);
        vector.launch(&stream, &stream_of(op), DType::F16, (&out).into()).unwrap();
        stream.synchronize().unwrap();
        let mut got = [f16::ZERO; 640];
        out.copy_to_host(&mut got).unwrap();
        assert_all(&got, &f16::from_f32(want), &format!("{op:?}"));
    }
}

#[test]
fn vector_instructions_without_barriers_race_where_races_are_checked() {
    let (device, stream) = lane(Device::open("sim").unwrap());
    let out = Buffer::alloc(&device, 5 * 256).unwrap();
    let tiling = VectorStreamTiling { barrier: false, ..stream_of(VectorOp::Add) };
    VectorStream::new(&device).unwrap().launch(&stream, &tiling, DType::F32, (&out).into()).unwrap();
    assert_eq!(stream.synchronize().unwrap_err().kind(), ErrorKind::SimFault);

    let mut config = sim::Config::new(Soc::by_name("Ascend910B2").unwrap());
    config.check_races = false;
    let device = Device::simulated(config).unwrap();
    let stream = Stream::new(&device).unwrap();
    let out = Buffer::alloc(&device, 5 * 256).unwrap();
    VectorStream::new(&device).unwrap().launch(&stream, &tiling, DType::F32, (&out).into()).unwrap();
    stream.synchronize().unwrap();
    let far = VectorStreamTiling { src1: VectorOperand::contiguous(188_160 - 64), ..tiling };
    let error =
        VectorStream::new(&device).unwrap().launch(&stream, &far, DType::F32, (&out).into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn numbers_beyond_64_bits_are_refused_and_not_saturated() {
    let soc = Soc::by_name("Ascend910B2").unwrap();
    let read = ReadFrom::new([8, 64], [4, 64], 1);
    for to in [ReadTo::Ub, ReadTo::L1] {
        let text = |from: ReadFrom| from.tiling_data(to, soc).unwrap_err().to_string();
        // (2^32 - 1) rows of 2^33 bytes.
        let tile = text(ReadFrom { tile: [u32::MAX; 2], ..read });
        assert!(tile.contains("and 36893488") && tile.contains("of 4294967295 rows"), "{tile}");
        assert_eq!(
            text(ReadFrom { pitch: u64::MAX, tile: [1, 64], ..read }),
            "read: rows = 8 with pitch = 18446744073709551615 given, which take 258254417031933722738 bytes; at most \
             18446744073709551615 wanted"
        );
    }
    assert_eq!(ReadFrom { pitch: u64::MAX, ..read }.span_bytes(), u64::MAX);
    assert_eq!(ReadFrom { pitch: 100, ..read }.span_bytes(), 2 * (7 * 100 + 64));
}
