//! What is kept, and how it is divided.

use serde::{Deserialize, Serialize};

use crate::spec::{spec_builders, AttentionSpec, Mask};
use crate::DType;

/// K and V of all layers of a model, for sequences that grow in steps.
///
/// | field | default | meaning |
/// | --- | --- | --- |
/// | `spec` | causal | type, heads, head dimensions, mask and scale of every layer |
/// | `layers` | | layers |
/// | `slots` | | sequences that there is room for |
/// | `max_keys` | | keys of each, which there is room for from the start |
/// | `rows` | 1 | most query rows of a sequence in a step |
/// | `prefill_rows` | `max_keys` | longest prompt that is attended to on the device at once |
/// | `page_size` | 128 | keys of a page of both caches |
/// | `lanes` | 2 | micro-batches that may be under way at the same time |
/// | `chunk_bytes` | 32 MiB | K and V that go down in one copy |
/// | `is_batch_invariant` | `false` | as in
/// [`serving::Problem::batch_invariant`](crate::serving::Problem::batch_invariant) |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// Type, heads, head dimensions, mask and scale.
    pub spec: AttentionSpec,
    /// Layers.
    pub layers: u32,
    /// Sequences.
    pub slots: u32,
    /// Most keys of a sequence.
    pub max_keys: u32,
    /// Most query rows of a sequence in a step.
    pub rows: u32,
    /// Most rows of a prompt.
    pub prefill_rows: u32,
    /// Keys of a page.
    pub page_size: u32,
    /// Micro-batches.
    pub lanes: u32,
    /// Most bytes of one copy of K and V to the host, below [`MAX_CHUNK_BYTES`].
    pub chunk_bytes: u64,
    /// What is divided.
    pub division: Division,
    /// Whether bits of a row depend on nothing but its own sequence.
    pub is_batch_invariant: bool,
}

/// Copies of pinned memory stay below this: 128 MB.
pub const MAX_CHUNK_BYTES: u64 = 128_000_000;

/// How K and V are divided between the device and the host. A number that is not given is the largest share
/// of the device that its bytes allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum Division {
    /// Whole layers lie on one side: the paper's strategy.
    Layers {
        /// Which layers are the host's. Descriptions of the paper contradict each other.
        order: LayerOrder,
        /// Layers of the host.
        host: Option<u32>,
    },
    /// Of every layer the first heads of K and V lie on the device, the others on the host.
    Heads {
        /// Heads of the device.
        device: Option<u32>,
    },
    /// The first slots lie on the device, the others on the host.
    Sequences {
        /// Slots of the device.
        device: Option<u32>,
    },
    /// The last keys of every sequence lie on the device. The host has all keys, and attends to those before
    /// the window. Both results are merged.
    Positions {
        /// Keys of the window. It is a whole number of pages, of which the first may be partly overwritten:
        /// a page less is the least that the device attends to.
        window: Option<u32>,
    },
}

/// Which layers are the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerOrder {
    /// The first ones.
    HostFirst,
    /// The last ones.
    DeviceFirst,
}

impl Problem {
    /// Causal attention with as many heads of K and V as of q: q `[slots, 1, num_heads, head_dim]` in each
    /// step.
    pub fn new(
        dtype: DType,
        layers: u32,
        [slots, max_keys, num_heads, head_dim]: [u32; 4],
        division: Division,
    ) -> Self {
        Self {
            spec: AttentionSpec { mask: Mask::Causal, ..AttentionSpec::new(dtype, num_heads, head_dim) },
            layers,
            slots,
            max_keys,
            rows: 1,
            prefill_rows: max_keys,
            page_size: 128,
            lanes: 2,
            chunk_bytes: 32 << 20,
            division,
            is_batch_invariant: false,
        }
    }

    spec_builders!();

    /// Sets the most query rows of a sequence in a step, and of a prompt.
    #[must_use]
    pub fn with_rows(self, rows: u32, prefill_rows: u32) -> Self {
        Self { rows, prefill_rows, ..self }
    }

    /// Sets the keys of a page.
    #[must_use]
    pub fn with_page_size(self, page_size: u32) -> Self {
        Self { page_size, ..self }
    }

    /// Sets the micro-batches.
    #[must_use]
    pub fn with_lanes(self, lanes: u32) -> Self {
        Self { lanes, ..self }
    }

    /// Sets the most bytes of one copy of K and V to the host.
    #[must_use]
    pub fn with_chunk_bytes(self, chunk_bytes: u64) -> Self {
        Self { chunk_bytes, ..self }
    }

    /// Sets how K and V are divided.
    #[must_use]
    pub fn with_division(self, division: Division) -> Self {
        Self { division, ..self }
    }

    /// Asks for rows whose bits depend on nothing but their own sequence.
    #[must_use]
    pub fn batch_invariant(self) -> Self {
        Self { is_batch_invariant: true, ..self }
    }
}
