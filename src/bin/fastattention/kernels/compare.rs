//! Two records of what the cores of a launch issued, in lock step.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastattention::sim::{CoreId, Issued};

/// What each core issued.
pub(crate) type Streams = BTreeMap<CoreId, Vec<Issued>>;

/// Instructions shown before the first difference.
const CONTEXT: usize = 4;

/// An instruction that one record may have and the other lack.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) mnemonic: &'static str,
    /// Only with these operands; `None`: with any.
    pub(crate) operands: Option<&'static [u64]>,
    /// Which record has it.
    pub(crate) only_in: Side,
    /// Why that changes nothing.
    pub(crate) because: &'static str,
}

/// One of the two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

impl Allowed {
    fn is(&self, side: Side, issued: &Issued) -> bool {
        self.only_in == side
            && self.mnemonic == issued.mnemonic()
            && self.operands.is_none_or(|wanted| wanted == issued.operands())
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Instructions that both records have.
    pub(crate) equal: usize,
    /// How often each allowed difference occurred, by its number in the list.
    pub(crate) allowed: BTreeMap<usize, usize>,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Summary) {
        self.equal += other.equal;
        for (index, count) in &other.allowed {
            *self.allowed.entry(*index).or_default() += count;
        }
    }
}

/// Compares core by core; `names` are those of the two records.
///
/// # Errors
/// The first difference that is not allowed, with what was issued before it.
pub(crate) fn compare(
    names: [&str; 2],
    [first, second]: [&Streams; 2],
    allowed: &[Allowed],
) -> Result<Summary, String> {
    if let Some(core) =
        first.keys().chain(second.keys()).find(|c| !(first.contains_key(c) && second.contains_key(c)))
    {
        let name = names[usize::from(first.contains_key(core))];
        return Err(format!("{core} issued nothing with {name}"));
    }
    let mut summary = Summary::default();
    for (core, stream) in first {
        let found = compare_core(names, [stream, &second[core]], allowed);
        summary.add(&found.map_err(|difference| format!("{core}: {difference}"))?);
    }
    Ok(summary)
}

fn compare_core(names: [&str; 2], streams: [&[Issued]; 2], allowed: &[Allowed]) -> Result<Summary, String> {
    let mut summary = Summary::default();
    let mut at = [0, 0];
    loop {
        let heads = [streams[0].get(at[0]), streams[1].get(at[1])];
        if heads == [None, None] {
            return Ok(summary);
        }
        if heads[0] == heads[1] {
            summary.equal += 1;
            at = [at[0] + 1, at[1] + 1];
            continue;
        }
        let sides = [(0, Side::First), (1, Side::Second)];
        let skip = sides.into_iter().find_map(|(i, side)| {
            let index = allowed.iter().position(|a| heads[i].is_some_and(|issued| a.is(side, issued)))?;
            Some((i, index))
        });
        let Some((i, index)) = skip else { return Err(difference(names, streams, at)) };
        *summary.allowed.entry(index).or_default() += 1;
        at[i] += 1;
    }
}

fn difference(names: [&str; 2], streams: [&[Issued]; 2], at: [usize; 2]) -> String {
    let mut text = String::from("the instructions differ");
    for (i, issued) in streams[0].iter().enumerate().take(at[0]).skip(at[0].saturating_sub(CONTEXT)) {
        // A String takes any text.
        let _ = write!(text, "\n    both  {i:6}  {issued}");
    }
    for side in 0..2 {
        let head = streams[side].get(at[side]).map_or_else(|| "(the end)".to_owned(), ToString::to_string);
        let _ = write!(text, "\n  {:>6}  {:6}  {head}", names[side], at[side]);
    }
    text
}

#[cfg(test)]
#[allow(unsafe_code, reason = "loads the image that the build script made")]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use fastattention::runtime::{Buffer, Device, KernelArgs, Module, Stream};
    use fastattention::sim::{Config, Recorder};
    use fastattention::Soc;

    use super::*;

    const NAMES: [&str; 2] = ["a", "b"];

    /// What `fa_copy` issues for each length, on one device, between the same buffers.
    fn copies(lengths: &[(u64, u32)]) -> Vec<Streams> {
        let recorder = Recorder::new();
        let mut config = Config::new(Soc::by_name("Ascend910B2").unwrap());
        config.recorder = Some(recorder.clone());
        let device = Device::simulated(config).unwrap();
        // SAFETY: the image is the one that this crate's build script made.
        let module =
            unsafe { Module::load(&device, &include_bytes!(env!("FA_BUILD_SIM_KERNELS"))[..]) }.unwrap();
        let kernel = module.kernel("fa_copy").unwrap();
        let stream = Stream::new(&device).unwrap();
        let [src, dst] = [1, 2].map(|fill| Buffer::from_slice(&device, &[fill; 100_000]).unwrap());
        let record = |&(bytes, blocks): &(u64, u32)| {
            let args = KernelArgs::new().buffer(&dst).buffer(&src).u64(bytes);
            kernel.launch(&stream, blocks, &args).unwrap();
            stream.synchronize().unwrap();
            recorder.take()
        };
        lengths.iter().map(record).collect()
    }

    #[test]
    fn the_same_kernel_issues_the_same() {
        let streams = copies(&[(100_000, 2), (100_000, 2)]);
        let summary = compare(NAMES, [&streams[0], &streams[1]], &[]).unwrap();
        assert_eq!(summary.equal, streams[0].values().map(Vec::len).sum::<usize>());
        assert!(summary.equal > 20 && summary.allowed.is_empty(), "{summary:?}");
    }

    #[test]
    fn another_operand_is_shown_with_what_came_before() {
        let streams = copies(&[(100, 1), (101, 1)]);
        let difference = compare(NAMES, [&streams[0], &streams[1]], &[]).unwrap_err();
        assert!(difference.starts_with("AIV0 of block 0: the instructions differ\n    both"), "{difference}");
        for line in ["  a       3  copy_gm_to_ubuf_align_b8", "  b       3  copy_gm_to_ubuf_align_b8"] {
            assert!(difference.contains(line), "{difference}");
        }
        assert!(difference.contains("=0x64,") && difference.contains("=0x65,"), "{difference}");
    }

    #[test]
    fn a_record_that_ends_early_or_lacks_a_core_differs() {
        let streams = copies(&[(70_000, 1), (20_000, 1), (70_000, 2)]);
        let shorter = compare(NAMES, [&streams[0], &streams[1]], &[]).unwrap_err();
        assert!(shorter.contains("the instructions differ"), "{shorter}");
        let core = compare(NAMES, [&streams[0], &streams[2]], &[]).unwrap_err();
        assert_eq!(core, "AIV0 of block 1 issued nothing with a");
        let none = Streams::new();
        assert_eq!(
            compare(NAMES, [&streams[0], &none], &[]).unwrap_err(),
            "AIV0 of block 0 issued nothing with b"
        );
    }

    #[test]
    fn allowed_instructions_of_one_side_are_counted() {
        let streams = copies(&[(100, 1)]);
        let mut fewer = streams[0].clone();
        for stream in fewer.values_mut() {
            stream.retain(|issued| issued.mnemonic() != "pipe_barrier");
        }
        let allow =
            |only_in, operands| [Allowed { mnemonic: "pipe_barrier", operands, only_in, because: "a test" }];
        let summary = compare(NAMES, [&streams[0], &fewer], &allow(Side::First, None)).unwrap();
        assert!(summary.allowed[&0] >= 1, "{summary:?}");
        let barrier = streams[0].values().flatten().find(|i| i.mnemonic() == "pipe_barrier").unwrap();
        assert_eq!(barrier.operands(), [6], "PIPE_ALL");
        assert!(compare(NAMES, [&streams[0], &fewer], &allow(Side::First, Some(&[6]))).is_ok());
        assert!(compare(NAMES, [&streams[0], &fewer], &allow(Side::First, Some(&[1]))).is_err());
        assert!(compare(NAMES, [&streams[0], &fewer], &allow(Side::Second, None)).is_err());
    }
}
