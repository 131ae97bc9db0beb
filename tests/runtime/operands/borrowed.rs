//! Operands from addresses of another owner, and tiling data at an address of the caller.

use std::ffi::c_void;

use fastattention::append::{self, Append};
use fastattention::attention::{Args, FlashAttention};
use fastattention::runtime::{Buffer, Device, Operand, Stream};
use fastattention::serving::{self, KvLayout};
use fastattention::{DType, ErrorKind};
use fastattention_testkit::compare::{assert_all, assert_same};
use half::f16;

use super::{bytes, device, ramp, Attention};

/// Memory as another owner knows it.
fn borrowed(device: &Device, address: *mut c_void, len: usize) -> Operand<'_> {
    // SAFETY: the tests keep the buffers that these addresses are of until their streams are synchronised.
    unsafe { Operand::from_raw(device, address, len) }
}

/// All of a buffer, without its object.
fn whole<'a>(device: &'a Device, buffer: &Buffer) -> Operand<'a> {
    borrowed(device, buffer.as_raw(), buffer.len_bytes())
}

#[test]
fn borrowed_memory_is_an_operand_like_a_buffer() {
    let device = device();
    let a = Attention::new(&device);
    let operator = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    let args = Args::new(&a.q, &a.k, &a.v, &a.o, &a.workspace).with_lse(&a.lse);
    operator.launch(&stream, &a.plan, args).unwrap();
    stream.synchronize().unwrap();
    let of_buffers: Vec<u16> = a.o.to_vec().unwrap();
    // The output in the middle of an allocation, by its own address and by an offset.
    let len = a.o.len_bytes();
    let room = Buffer::alloc(&device, 2 * len).unwrap();
    let middle = room.as_raw().wrapping_byte_add(len);
    let offset = whole(&device, &room).with_offset_bytes(len);
    assert_eq!((offset.offset_bytes(), offset.device_ptr()), (len, middle.addr() as u64));
    for o in [borrowed(&device, middle, len), offset] {
        room.zero().unwrap();
        let [q, k, v, workspace, lse] =
            [&a.q, &a.k, &a.v, &a.workspace, &a.lse].map(|buffer| whole(&device, buffer));
        operator.launch(&stream, &a.plan, Args::new(q, k, v, o, workspace).with_lse(lse)).unwrap();
        stream.synchronize().unwrap();
        let all: Vec<u16> = room.to_vec().unwrap();
        assert_all(&all[..len / 2], &0, "before o");
        assert_same(&all[len / 2..], &of_buffers, "o");
    }
}

#[test]
fn borrowed_memory_that_cannot_serve_is_refused() {
    let (device, other) = (device(), device());
    let a = Attention::new(&device);
    let operator = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    let refusal = |o: Operand<'_>, workspace: Operand<'_>| {
        let args = Args::new(&a.q, &a.k, &a.v, o, workspace).with_lse(&a.lse);
        operator.launch(&stream, &a.plan, args).unwrap_err()
    };
    let (len, at) = (a.o.len_bytes(), a.o.device_ptr());
    let behind = |buffer: &Buffer, bytes: usize| buffer.as_raw().wrapping_byte_add(bytes);
    let workspace = || Operand::from(&a.workspace);
    for (o, workspace, text) in [
        (
            borrowed(&device, behind(&a.o, 1), len),
            workspace(),
            format!("o starts at address {:#x}, a multiple of 2 wanted", at + 1),
        ),
        (
            borrowed(&device, behind(&a.o, 0), len - 2),
            workspace(),
            format!("o has {} bytes, the plan needs {len}", len - 2),
        ),
        (
            Operand::from(&a.o),
            borrowed(&device, behind(&a.workspace, 32), a.workspace.len_bytes()),
            format!(
                "workspace starts at address {:#x}, a multiple of 64 wanted",
                a.workspace.device_ptr() + 32
            ),
        ),
        (whole(&device, &a.q), workspace(), "o at ".to_owned()),
        (whole(&other, &a.o), workspace(), "a buffer argument of another opened device".to_owned()),
    ] {
        let error = refusal(o, workspace);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(&text), "{text:?} in {error}");
    }
}

/// One slot with 40 keys, and its operands.
struct Decode {
    problem: serving::Problem,
    q: Buffer,
    cache: Buffer,
    lengths: Buffer,
    table: Buffer,
    o: Buffer,
    workspace: Buffer,
}

impl Decode {
    fn new(device: &Device) -> Self {
        let kv = KvLayout::paged(16, 4);
        let problem = serving::Problem::new(DType::F16, [1, 1, 4, 64], 48, kv).with_num_heads_k(2);
        let plan = serving::plan(&problem, device.soc()).unwrap();
        Self {
            problem,
            q: Buffer::from_slice(device, &ramp(4 * 64)).unwrap(),
            cache: Buffer::from_slice(device, &ramp(4 * 16 * 2 * 64)).unwrap(),
            lengths: Buffer::from_slice(device, &[40i32]).unwrap(),
            table: Buffer::from_slice(device, &[2i32, 0, 3]).unwrap(),
            o: Buffer::alloc(device, 4 * 64 * 2).unwrap(),
            workspace: Buffer::alloc(device, bytes(plan.workspace_bytes())).unwrap(),
        }
    }

    fn args(&self) -> serving::Args<'_> {
        let cache = &self.cache;
        serving::Args::new(&self.q, cache, cache, &self.lengths, &self.o, &self.workspace)
            .with_block_table(&self.table)
    }
}

#[test]
fn placed_tiling_data_serve_launches_of_their_plan_alone() {
    let device = device();
    let d = Decode::new(&device);
    let plan = serving::plan(&d.problem, device.soc()).unwrap();
    let operator = serving::ServingAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    operator.launch(&stream, &plan, d.args()).unwrap();
    stream.synchronize().unwrap();
    let sent: Vec<f16> = d.o.to_vec().unwrap();
    d.o.zero().unwrap();
    let room = Buffer::alloc(&device, 64 + bytes(plan.tiling_data_bytes())).unwrap();
    let placed = plan.place_tiling_data(Operand::at(&room, 64)).unwrap();
    // The data keep the buffer, and the stream keeps it for the launch.
    drop(room);
    operator.launch(&stream, &plan, d.args().with_tiling_data(&placed)).unwrap();
    let other = serving::plan(&d.problem.with_softmax_scale(0.5), device.soc()).unwrap();
    let error = operator.launch(&stream, &other, d.args().with_tiling_data(&placed)).unwrap_err();
    let text = "serving launch: tiling_data is of another plan, that of the plan of this launch wanted";
    assert_eq!(error.to_string(), text);
    drop(placed);
    stream.synchronize().unwrap();
    assert_eq!(d.o.to_vec::<f16>().unwrap(), sent);
}

#[test]
fn tiling_data_that_cannot_be_placed_are_refused_and_nothing_writes_them() {
    let device = device();
    let d = Decode::new(&device);
    let plan = serving::plan(&d.problem, device.soc()).unwrap();
    let len = bytes(plan.tiling_data_bytes());
    let room = Buffer::alloc(&device, len).unwrap();
    let refusal = |at: Operand<'_>| plan.place_tiling_data(at).unwrap_err().to_string();
    let what = "serving Plan::place_tiling_data: tiling_data";
    assert_eq!(
        refusal(Operand::at(&room, 8)),
        format!("{what} has {} bytes from byte 8, the plan needs {len}", len - 8)
    );
    assert!(refusal(Operand::at(&room, 4))
        .starts_with(&format!("{what} starts at byte 4, a multiple of 8 wanted")));
    // Where the output lies.
    let placed = plan.place_tiling_data(&d.o).unwrap();
    let operator = serving::ServingAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    let error = operator.launch(&stream, &plan, d.args().with_tiling_data(&placed)).unwrap_err();
    assert!(error.to_string().contains(" is written and shares bytes with tiling_data at "), "{error}");
}

#[test]
fn an_append_reads_placed_tiling_data() {
    let device = device();
    let d = Decode::new(&device);
    let problem = append::Problem::new(2, &d.problem);
    let plan = append::plan(&problem, device.soc()).unwrap();
    let placed =
        plan.place_tiling_data(&Buffer::alloc(&device, bytes(plan.tiling_data_bytes())).unwrap()).unwrap();
    let rows = Buffer::from_slice(&device, &ramp(2 * 2 * 64)).unwrap();
    let places = Buffer::from_slice(&device, &[5i32, 40]).unwrap();
    let caches = [(); 2].map(|()| Buffer::from_slice(&device, &vec![f16::ZERO; 4 * 16 * 2 * 64]).unwrap());
    let args = append::Args::new(&rows, &rows, &places, &caches[0], &caches[1]).with_tiling_data(&placed);
    let (operator, stream) = (Append::new(&device).unwrap(), Stream::new(&device).unwrap());
    operator.launch(&stream, &plan, args).unwrap();
    stream.synchronize().unwrap();
    let (cache, rows) = (caches[0].to_vec::<f16>().unwrap(), ramp(2 * 2 * 64));
    assert_same(&cache[5 * 128..6 * 128], &rows[..128], "place 5");
    assert_same(&cache[40 * 128..41 * 128], &rows[128..], "place 40");
    let other = append::plan(&append::Problem::new(1, &d.problem), device.soc()).unwrap();
    let error = operator.launch(&stream, &other, args).unwrap_err();
    assert!(error.to_string().contains("tiling_data is of another plan"), "{error}");
}
