//! Lengths of the sequences of a layer.

/// Lengths of one sequence of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence {
    /// Rows of q and of the output.
    pub seqlen_q: u32,
    /// Rows of k and v.
    pub seqlen_k: u32,
}

/// The sequences of a batch, in order. Equal ones that follow each other take one place, however many they
/// are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// A sequence, and how often it comes.
    pub(super) groups: Vec<(Sequence, u32)>,
}

impl Sequences {
    /// `count` equal ones.
    pub fn repeated(sequence: Sequence, count: u32) -> Self {
        Self { groups: if count == 0 { Vec::new() } else { vec![(sequence, count)] } }
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.groups.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Every sequence.
    pub fn iter(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.groups.iter().flat_map(|&(sequence, count)| (0..count).map(move |_| sequence))
    }

    /// Sum of a length; of 2^32 sequences of 2^32 rows each it would not overflow.
    pub(super) fn sum(&self, length: fn(&Sequence) -> u32) -> u128 {
        self.groups.iter().map(|(sequence, count)| u128::from(length(sequence)) * u128::from(*count)).sum()
    }
}

impl From<Vec<Sequence>> for Sequences {
    fn from(sequences: Vec<Sequence>) -> Self {
        let mut groups: Vec<(Sequence, u32)> = Vec::new();
        for sequence in sequences {
            match groups.last_mut() {
                Some((last, count)) if *last == sequence && *count < u32::MAX => *count += 1,
                _ => groups.push((sequence, 1)),
            }
        }
        Self { groups }
    }
}
