//! Operands that lie on each other.

use fastattention::attention::{plan, FlashAttention, Problem};
use fastattention::baseline::{self, Add, AddTiling, MemoryCopy, StandardArgs, StandardAttention};
use fastattention::matmul::{self, Matmul};
use fastattention::parallel::{self, AttentionArgs, AttentionMatmul, LinearArgs, TilingAllReduce};
use fastattention::{DType, Error, ErrorKind, Result};
use fastattention_testkit::compare::assert_same;

use super::*;

/// Refused, with both names.
#[track_caller]
fn refused(outcome: Result<()>, written: &str, other: &str) {
    let error: Error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let text = error.to_string();
    let place = text.find(&format!("{written} at [0x")).unwrap_or_else(|| panic!("no {written} in {text}"));
    assert!(text[place..].contains(&format!(") is written and shares bytes with {other} at [0x")), "{text}");
}

#[test]
fn attention_refuses_every_operand_that_is_written_on_another() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    let case = Attention::new(&device);
    let args = case.args();
    let launch = |args| operator.launch(&stream, &case.plan, args);
    launch(args).unwrap();
    for (name, on) in [("q", args.q), ("k", args.k), ("v", args.v)] {
        refused(launch(Args { o: on, ..args }), "o", name);
        refused(launch(Args { lse: Some(on), ..args }), "lse", name);
    }
    refused(launch(Args { lse: Some(args.o), ..args }), "o", "lse");
    // The workspace is larger than the tensors: they lie in it.
    refused(launch(Args { q: args.workspace, ..args }), "workspace", "q");
    refused(launch(Args { v: at(&case.workspace, 512), ..args }), "workspace", "v");
    refused(launch(Args { o: args.workspace, ..args }), "o", "workspace");
    // q and o share the last row of one.
    let both = Buffer::from_slice(&device, &ramp(2 * 64 * 64)).unwrap();
    let row = 2 * 64;
    refused(launch(Args { q: at(&both, 0), o: at(&both, 63 * row), ..args }), "o", "q");
    launch(Args { q: at(&both, 0), o: at(&both, 64 * row), ..args }).unwrap();
    // A second buffer at the same address, as another library's.
    // SAFETY: memory of `case.v`, which lives longer.
    let again = unsafe { Buffer::from_raw(&device, case.v.as_raw(), case.v.len_bytes()) }.unwrap();
    refused(launch(Args { o: (&again).into(), ..args }), "o", "v");
    // What is read may be one tensor.
    launch(Args { k: args.q, v: args.q, ..args }).unwrap();
    stream.synchronize().unwrap();
}

/// q, k, v and o in the rows of one tensor, and the result that separate tensors give.
#[test]
fn packed_rows_are_no_overlap() {
    let device = device();
    let operator = FlashAttention::new(&device).unwrap();
    let stream = Stream::new(&device).unwrap();
    let (rows, heads, dim) = (40usize, 2usize, 32usize);
    let width = heads * dim;
    let dense = Problem::new(DType::F16, [1, 40, 2, 32]);
    let pitch = (4 * width) as u64;
    let stride = Some([0, pitch, dim as u64]);
    let mut packed = dense;
    (packed.q_stride, packed.k_stride, packed.v_stride, packed.o_stride) = (stride, stride, stride, stride);
    let data = ramp(rows * 4 * width);
    let all = Buffer::from_slice(&device, &data).unwrap();
    let plan_packed = plan(&packed, soc()).unwrap();
    let workspace = Buffer::alloc(&device, bytes(plan_packed.workspace_bytes())).unwrap();
    let part = |i: usize| at(&all, i * width * 2);
    let args = |o| Args::new(part(0), part(1), part(2), o, &workspace);
    operator.launch(&stream, &plan_packed, args(part(3))).unwrap();
    stream.synchronize().unwrap();
    refused(operator.launch(&stream, &plan_packed, args(at(&all, 3 * width * 2 - 2))), "o", "v");

    let tensor = |i: usize| -> Vec<f16> {
        data.chunks(4 * width).flat_map(|row| row[i * width..][..width].to_vec()).collect()
    };
    let want =
        fastattention::attention::host::attention_on(&operator, &dense, &tensor(0), &tensor(1), &tensor(2));
    let mut got = vec![f16::ZERO; data.len()];
    all.copy_to_host(&mut got).unwrap();
    let (o, rest): (Vec<_>, Vec<_>) =
        got.chunks(4 * width).map(|row| (&row[3 * width..], &row[..3 * width])).unzip();
    assert_eq!(o.concat(), want.unwrap().o);
    let inputs: Vec<_> = data.chunks(4 * width).map(|row| &row[..3 * width]).collect();
    assert_same(&rest.concat(), &inputs.concat(), "the inputs");
}

#[test]
fn products_and_what_is_compared_with_refuse_them() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let buffer = || Buffer::from_slice(&device, &ramp(4096)).unwrap();
    let (x, y) = (buffer(), buffer());

    let product = Matmul::new(&device).unwrap();
    let plan = matmul::plan(&matmul::Problem::new(DType::F16, [32, 32, 32]), soc()).unwrap();
    let launch = |a, b, c| product.launch(&stream, &plan, matmul::Args { a, b, c });
    refused(launch(at(&x, 0), at(&y, 0), at(&x, 0)), "c", "a");
    refused(launch(at(&x, 0), at(&y, 0), at(&y, 2046)), "c", "b");
    launch(at(&x, 0), at(&x, 64), at(&y, 0)).unwrap();

    let add = Add::new(&device).unwrap();
    let tiling = AddTiling { tile: 256, buffers: 2, num_cores: 1, y_gap_bytes: 0, past_l2: false };
    let sum = |operands| add.launch(&stream, tiling, DType::F16, 1000, operands);
    refused(sum([at(&x, 0), at(&y, 0), at(&x, 1000)]), "z", "x");
    refused(sum([at(&x, 0), at(&y, 0), at(&y, 0)]), "z", "y");
    let copy = MemoryCopy::new(&device).unwrap();
    refused(copy.launch(&stream, 2, 1024, at(&x, 1023), at(&x, 0)), "dst", "src");
    copy.launch(&stream, 2, 1024, at(&x, 1024), at(&x, 0)).unwrap();
    stream.copy(&x, &x).unwrap();
    // SAFETY: the 8192 bytes of `x`, which lives longer than the streams that are given them.
    let behind = |at| unsafe { Buffer::from_raw(&device, x.as_raw().wrapping_byte_add(at), 4096) }.unwrap();
    refused(stream.copy(&behind(4095), &behind(0)), "dst", "src");
    stream.copy(&behind(4096), &behind(0)).unwrap();

    let problem = Problem::new(DType::F16, [1, 16, 1, 16]);
    let plan = baseline::plan(&problem, DType::F32, soc()).unwrap();
    let unfused = StandardAttention::new(&device).unwrap();
    let workspace = Buffer::alloc(&device, bytes(plan.workspace_bytes())).unwrap();
    let (q, v, w) = (at(&x, 0), at(&y, 0), at(&workspace, 0));
    let args = |o, workspace| StandardArgs::new(q, q, v, o, workspace);
    refused(unfused.launch(&stream, &plan, args(at(&y, 32), w)), "o", "v");
    refused(unfused.launch(&stream, &plan, args(w, w)), "o", "workspace");
    stream.synchronize().unwrap();
}

#[test]
fn a_product_may_lie_on_the_attention_that_it_follows_and_on_nothing_else() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let both = AttentionMatmul::new(&device).unwrap();
    let case = Attention::new(&device);
    let plan = matmul::plan(&matmul::Problem::new(DType::F16, [64, 32, 64]), soc()).unwrap();
    let tensor = || Buffer::from_slice(&device, &ramp(64 * 64)).unwrap();
    let (b, c) = (tensor(), tensor());
    let launch = |a, b, c| both.launch(&stream, (&case.plan, case.args()), (&plan, matmul::Args { a, b, c }));
    launch(at(&case.o, 0), at(&b, 0), at(&c, 0)).unwrap();
    launch(at(&case.q, 0), at(&case.k, 0), at(&c, 0)).unwrap();
    refused(launch(at(&case.workspace, 0), at(&b, 0), at(&c, 0)), "workspace", "a");
    refused(launch(at(&case.o, 0), at(&case.o, 0), at(&c, 0)), "o", "b");
    refused(launch(at(&case.o, 0), at(&b, 0), at(&case.q, 0)), "c", "q");
    refused(launch(at(&case.o, 0), at(&b, 0), at(&case.workspace, 0)), "workspace", "c");
    stream.synchronize().unwrap();
}

#[test]
fn layers_refuse_them() {
    let device = device();
    let stream = Stream::new(&device).unwrap();
    let mut layer = TilingAllReduce::alone(&device).unwrap();
    let plan = parallel::plan(&parallel::Problem::new(DType::F16, [1, 64, 2, 32], 64, 1), soc()).unwrap();
    let tensor = || Buffer::from_slice(&device, &ramp(64 * 64)).unwrap();
    let (q, weight, o, y) = (tensor(), tensor(), tensor(), tensor());
    let workspace = Buffer::alloc(&device, bytes(plan.workspace_bytes())).unwrap();
    let mut launch = |k, o, weight, y| {
        let attention = AttentionArgs::new(&q, k, &q, &workspace);
        let args = parallel::Args::new(o, LinearArgs::Weight(weight), y).with_attention(attention);
        layer.launch(&stream, &plan, args)
    };
    let (q, weight, o, y, w) = (at(&q, 0), at(&weight, 0), at(&o, 0), at(&y, 0), at(&workspace, 0));
    launch(q, o, weight, y).unwrap();
    refused(launch(q, o, weight, o), "o", "y");
    refused(launch(q, o, weight, q), "y", "q");
    refused(launch(q, o, weight, weight), "y", "weight");
    refused(launch(q, q, weight, y), "o", "k");
    refused(launch(w, o, weight, y), "workspace", "k");
    stream.synchronize().unwrap();
}
