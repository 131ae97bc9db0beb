//! Cycles of shipped kernels, against the model that this one is made after: a tool in Python with the same
//! rules (interpreter of `nvdisasm` text in numpy, one multiprocessor cycle by cycle). The numbers are its
//! own, for all operands zero, and must be equal: both follow the words of ptxas 12.9.
#![allow(clippy::unwrap_used, reason = "helpers of a test; a failure here fails the test")]

use std::path::Path;

use fastattention_v100::{simulate, Error, Kernel, Launch, Memory, Parameters, Tools};

/// How far instructions and cycles of the model from PTX may be off: of many rows, and of decode, whose
/// blocks here have few keys, so that most of a block is its beginning and its end.
const INSTRUCTIONS_PERCENT: [u64; 2] = [8, 30];
const CYCLES_PERCENT: [u64; 2] = [16, 40];

struct Case {
    kernel: &'static str,
    rows: u32,
    keys: u32,
    dims: u32,
    /// Window to the right; all bits for none.
    right: u32,
    shared_bytes: u32,
    decode: bool,
    /// Of one block alone, and of two.
    cycles: [u64; 2],
    /// Instructions, steps of tensor instructions, wavefronts, sectors.
    counts: [u64; 4],
}

type Row = (&'static str, [u32; 4], u32, bool, [u64; 2], [u64; 4]);

const TABLE: [Row; 7] = [
    ("flash_fwd_f16_d64", [128, 192, 64, u32::MAX], 32768, false, [14940, 20519], [24740, 12288, 4448, 3104]),
    ("flash_fwd_f16_d96", [100, 150, 96, 0], 49152, false, [22583, 31213], [35456, 18432, 6672, 3626]),
    (
        "flash_fwd_f16_d128",
        [128, 128, 128, u32::MAX],
        49152,
        false,
        [19779, 26800],
        [29512, 16384, 5984, 5152],
    ),
    ("flash_fwd_f16_d128_g2", [64, 256, 128, 0], 34816, false, [23873, 33360], [31774, 16384, 7008, 5648]),
    (
        "flash_fwd_f16_d256",
        [128, 64, 256, u32::MAX],
        83968,
        false,
        [17238, 23391],
        [24364, 12288, 5152, 5664],
    ),
    ("flash_decode_f16_d128_r8", [4, 100, 128, u32::MAX], 17152, true, [9342, 10990], [9721, 832, 320, 1762]),
    ("flash_decode_f16_d64_r16", [9, 64, 64, 0], 17920, true, [7682, 9229], [8824, 512, 392, 695]),
];

fn case((kernel, [rows, keys, dims, right], shared_bytes, decode, cycles, counts): Row) -> Case {
    Case { kernel, rows, keys, dims, right, shared_bytes, decode, cycles, counts }
}

/// Parameters, each aligned to its size.
#[derive(Default)]
struct Params(Vec<u8>);

impl Params {
    fn push(&mut self, bytes: &[u8]) {
        self.0.resize(self.0.len().next_multiple_of(bytes.len()), 0);
        self.0.extend_from_slice(bytes);
    }

    fn u64s(&mut self, values: &[u64]) {
        values.iter().for_each(|value| self.push(&value.to_le_bytes()));
    }

    fn u32s(&mut self, values: &[u32]) {
        values.iter().for_each(|value| self.push(&value.to_le_bytes()));
    }
}

/// In the order of `cuda/flash_fwd_sm70.cu` and `cuda/flash_decode_sm70.cu`: one head, no batch.
fn params(case: &Case, tensors: &[u64]) -> Vec<u8> {
    let Case { rows, keys, dims, right, .. } = *case;
    let mut params = Params::default();
    params.u64s(tensors);
    params.u64s(&[0; 6][..if case.decode { 6 } else { 2 }]);
    params.u32s(&[1.0_f32.to_bits(), rows, keys, 1]);
    if case.decode {
        params.u32s(&[1]);
    }
    params.u32s(&[dims, dims, u32::MAX, right]);
    if case.decode {
        params.u32s(&[0, 0, 31, keys]);
    }
    params.u32s(&[2 * dims; 4]);
    params.u64s(&[0; 10]);
    params.u32s(&[u32::MAX, 0]);
    // The last one: `zero`, or the most rows of a batch.
    params.u32s(&[if case.decode { rows } else { 0 }]);
    params.0
}

#[test]
fn cycles_and_counts_are_those_of_the_other_model() {
    let tools = match Tools::find() {
        Ok(tools) if tools.version().unwrap().contains("12.9") => tools,
        Ok(tools) => return eprintln!("skipped: ptxas is {}, 12.9 wanted", tools.version().unwrap()),
        Err(error @ Error::NoTool { .. }) => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    for case in TABLE.map(case) {
        let made = tools.assemble(&ptx(&case)).unwrap();
        assert_eq!(made.spilled_bytes, 0, "{}", case.kernel);
        let kernel = Kernel::new(&tools, &made.cubin, case.kernel).unwrap();
        let (counts, cycles) = run(&kernel, &case);
        assert_eq!(counts, case.counts, "{}", case.kernel);
        assert_eq!(cycles, case.cycles, "{}", case.kernel);
    }
}

/// The model from PTX alone: the same tensor instructions, wavefronts and sectors, and cycles that are near.
#[test]
fn from_ptx_counts_are_the_same_and_cycles_are_near() {
    for case in TABLE.map(case) {
        let kernel = Kernel::from_ptx(&ptx(&case), case.kernel).unwrap();
        let (counts, cycles) = run(&kernel, &case);
        assert_eq!(counts[1..], case.counts[1..], "{}", case.kernel);
        let [instructions, percent] =
            [INSTRUCTIONS_PERCENT, CYCLES_PERCENT].map(|of| of[usize::from(case.decode)]);
        let near = |found: u64, wanted: u64, percent: u64| 100 * found.abs_diff(wanted) <= percent * wanted;
        assert!(near(counts[0], case.counts[0], instructions), "{}: {counts:?}", case.kernel);
        for (found, wanted) in cycles.into_iter().zip(case.cycles) {
            assert!(near(found, wanted, percent), "{}: {found} cycles, {wanted} wanted", case.kernel);
        }
    }
}

fn ptx(case: &Case) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cuda/ptx");
    std::fs::read_to_string(folder.join(format!("{}.ptx", case.kernel))).unwrap()
}

/// Counts of a block, and the cycles of one and of two.
fn run(kernel: &Kernel, case: &Case) -> ([u64; 4], [u64; 2]) {
    let mut memory = Memory::new();
    let [q, k] = [case.rows, case.keys].map(|rows| vec![0; (2 * rows * case.dims) as usize]);
    let tensors = [&q, &k, &k, &q, &vec![0; 4 * case.rows as usize]].map(|data| memory.upload(data));
    let params = params(case, &tensors);
    let launch = Launch { grid: [1; 3], threads: [128, 1], shared_bytes: case.shared_bytes, params };
    let trace = kernel.run_block(&mut memory, &launch, [0; 3]).unwrap();
    let counts = trace.counts(kernel);
    let cycles = [1, 2]
        .map(|blocks| simulate(&vec![(kernel, &trace); blocks], &Parameters::default()).unwrap().cycles);
    ([counts.instructions, counts.tensor_steps, counts.wavefronts, counts.sectors], cycles)
}
