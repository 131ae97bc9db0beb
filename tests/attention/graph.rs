//! Attention that is captured once and launched many times.

use fastattention::attention::{plan, Buffers, Mask, Problem};
use fastattention::runtime::{CaptureMode, Stream};
use fastattention::{DType, ErrorKind};
use fastattention_testkit::compare::{assert_all, assert_same};
use fastattention_testkit::device::attention;
use half::f16;

const ROUNDS: u64 = 20;

/// Numbers in -1..1.
fn numbers(len: usize, seed: u64) -> Vec<f16> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| f16::from_f32(rng.f32() * 2.0 - 1.0)).collect()
}

#[test]
fn replays_read_new_inputs_and_give_the_bits_of_launches() {
    let operator = attention(|_| {});
    let device = operator.device();
    let problem = Problem::new(DType::F16, [1, 40, 4, 64])
        .with_seqlen_k(70)
        .with_num_heads_k(2)
        .with_mask(Mask::Causal)
        .with_lse();
    let plan = plan(&problem, device.soc()).unwrap();
    let inputs = |round: u64| {
        [(40 * 4 * 64, 1), (70 * 2 * 64, 2), (70 * 2 * 64, 3)]
            .map(|(len, seed)| numbers(len, 10 * round + seed))
    };
    let [q, k, v] = inputs(ROUNDS);
    let [captured, eager] = [(); 2].map(|()| Buffers::from_slices(device, &plan, [&q, &k, &v]).unwrap());
    captured.o.zero().unwrap();
    let stream = Stream::new(device).unwrap();
    let capture = stream.begin_capture(CaptureMode::ThreadLocal).unwrap();
    operator.launch(&stream, &plan, captured.args()).unwrap();
    // Waiting is refused, and nothing has run.
    assert_eq!(stream.synchronize().unwrap_err().kind(), ErrorKind::Unsupported);
    let graph = capture.end().unwrap();
    assert_all(&captured.o.to_vec::<f16>().unwrap(), &f16::ZERO, "o");
    let mut last = Vec::new();
    for round in 0..ROUNDS {
        let inputs = inputs(round);
        for buffers in [&captured, &eager] {
            for (buffer, values) in [&buffers.q, &buffers.k, &buffers.v].into_iter().zip(&inputs) {
                buffer.copy_from_host(values).unwrap();
            }
        }
        graph.launch(&stream).unwrap();
        operator.launch(&stream, &plan, eager.args()).unwrap();
        stream.synchronize().unwrap();
        let bits = |buffers: &Buffers| -> (Vec<u16>, Vec<u32>) {
            let lse = buffers.lse.as_ref().unwrap();
            (buffers.o.to_vec().unwrap(), lse.to_vec().unwrap())
        };
        let (got, want) = (bits(&captured), bits(&eager));
        assert_same(&got.0, &want.0, &format!("round {round}, o"));
        assert_same(&got.1, &want.1, &format!("round {round}, lse"));
        assert_ne!(bits(&captured).0, last, "round {round}: the inputs of the round before");
        last = bits(&captured).0;
    }
}
