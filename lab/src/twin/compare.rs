//! Two records of what the cores of a launch issued, in lock step.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastattention::sim::{CoreId, Issued};

/// What each core issued.
pub(super) type Streams = BTreeMap<CoreId, Vec<Issued>>;

/// Instructions shown before the first difference.
const CONTEXT: usize = 4;

/// Two neighbours that the records may have in opposite order.
#[derive(Debug)]
pub(super) struct Allowed {
    /// Mnemonics, in either order. The instructions themselves have to be the same.
    pub(super) swapped: [&'static str; 2],
    /// Why that changes nothing.
    pub(super) because: &'static str,
}

impl Allowed {
    fn is(&self, first: &[Issued], second: &[Issued]) -> bool {
        let ([a, b, ..], [c, d, ..]) = (first, second) else { return false };
        let names = [a.mnemonic(), b.mnemonic()];
        (names == self.swapped || [names[1], names[0]] == self.swapped) && a == d && b == c
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Instructions that both records have.
    pub(super) equal: usize,
    /// How often each allowed difference occurred, by its number in the list.
    pub(super) allowed: BTreeMap<usize, usize>,
}

impl Summary {
    pub(super) fn add(&mut self, other: &Summary) {
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
pub(super) fn compare(
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
    let mut at = 0;
    loop {
        let [first, second] = streams.map(|stream| stream.get(at..).unwrap_or_default());
        match (first.first(), second.first()) {
            (None, None) => return Ok(summary),
            (Some(a), Some(b)) if a == b => {
                summary.equal += 1;
                at += 1;
            }
            _ => {
                let index = allowed.iter().position(|allowed| allowed.is(first, second));
                let Some(index) = index else { return Err(difference(names, streams, at)) };
                *summary.allowed.entry(index).or_default() += 1;
                at += 2;
            }
        }
    }
}

fn difference(names: [&str; 2], streams: [&[Issued]; 2], at: usize) -> String {
    let mut text = String::from("the instructions differ");
    for (i, issued) in streams[0].iter().enumerate().take(at).skip(at.saturating_sub(CONTEXT)) {
        // A String takes any text. Of an allowed difference it is the first record that is shown.
        let _ = write!(text, "\n    both  {i:6}  {issued}");
    }
    for (name, stream) in names.into_iter().zip(streams) {
        let head = stream.get(at).map_or_else(|| "(the end)".to_owned(), ToString::to_string);
        let _ = write!(text, "\n  {name:>6}  {at:6}  {head}");
    }
    text
}

#[cfg(test)]
#[allow(unsafe_code, reason = "loads the image that the build script made")]
#[allow(clippy::unwrap_used, reason = "unwrap is how a test fails")]
mod tests {
    use fastattention::kernels::operands::CopyOperands;
    use fastattention::kernels::simulator_image;
    use fastattention::runtime::{Buffer, Device, Module, Stream};
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
        let module = unsafe { Module::load(&device, simulator_image()) }.unwrap();
        let kernel = module.kernel("fa_copy").unwrap();
        let stream = Stream::new(&device).unwrap();
        let [src, dst] = [1, 2].map(|fill| Buffer::from_slice(&device, &[fill; 100_000]).unwrap());
        let record = |&(bytes, blocks): &(u64, u32)| {
            let args = CopyOperands { dst: (&dst).into(), src: (&src).into(), bytes }.args().unwrap();
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
    fn neighbours_may_be_swapped_where_that_is_allowed() {
        let streams = copies(&[(100, 1)]);
        let mnemonics: Vec<_> = streams[0].values().next().unwrap().iter().map(Issued::mnemonic).collect();
        let at = mnemonics.iter().position(|&mnemonic| mnemonic == "set_vector_mask").unwrap();
        assert_eq!(mnemonics[at + 1], "set_mask_norm");
        let mut swapped = streams[0].clone();
        swapped.values_mut().for_each(|stream| stream.swap(at, at + 1));
        let allow = |swapped| [Allowed { swapped, because: "a test" }];
        for names in [["set_vector_mask", "set_mask_norm"], ["set_mask_norm", "set_vector_mask"]] {
            let summary = compare(NAMES, [&streams[0], &swapped], &allow(names)).unwrap();
            assert_eq!((summary.equal, summary.allowed), (mnemonics.len() - 2, BTreeMap::from([(0, 1)])));
        }
        assert!(compare(NAMES, [&streams[0], &swapped], &[]).is_err());
        assert!(compare(NAMES, [&streams[0], &swapped], &allow(["set_vector_mask", "set_ctrl"])).is_err());
        // The same names, but one of the two has gone.
        swapped.values_mut().for_each(|stream| drop(stream.remove(at)));
        let names = ["set_vector_mask", "set_mask_norm"];
        assert!(compare(NAMES, [&streams[0], &swapped], &allow(names)).is_err());
    }
}
