//! Unfused attention: the scores go through device memory, and so does a mask of every pair of query and key.

use super::softmax::{self, softmax_kernel_name, Scores, MAX_SEQLEN_K};
use super::SoftmaxTilingData;
use crate::attention::operands::tensors;
use crate::attention::{Mask, Operand, Problem};
use crate::kernels::operands::SoftmaxOperands;
use crate::matmul::{self, BLayout, Matmul, Strides};
use crate::runtime::{refuse, Device, Kernel, Module, Named, Stream};
use crate::spec::Reason;
use crate::{kernels, DType, Error, Result, Soc};

/// Bytes to which parts of the workspace are aligned: GM moves whole lines of 512 bytes (dav-c220.md §1.6).
const LINE_BYTES: u64 = 512;

/// A planned unfused attention.
#[derive(Clone, Debug, PartialEq)]
pub struct StandardPlan {
    problem: Problem,
    soc: Soc,
    /// `None` for a problem without rows.
    launches: Option<Launches>,
    mask_bytes: u64,
    scores_bytes: u64,
    p_bytes: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Launches {
    /// `None` without keys: P has no columns then.
    scores: Option<(matmul::Plan, SoftmaxTilingData)>,
    scores_dtype: DType,
    output: matmul::Plan,
}

/// Operands of a launch. The caller owns all of them; `o` and `workspace` overlap with nothing.
#[derive(Clone, Copy, Debug)]
pub struct StandardArgs<'a> {
    /// Queries.
    pub q: Operand<'a>,
    /// Keys.
    pub k: Operand<'a>,
    /// Values.
    pub v: Operand<'a>,
    /// Output.
    pub o: Operand<'a>,
    /// Dense mask `[seqlen_q, seqlen_k]` of the operands' type ([`dense_causal_mask`]); given exactly when
    /// the problem is masked.
    pub mask: Option<Operand<'a>>,
    /// [`StandardPlan::workspace_bytes`] bytes; what is in it does not matter.
    pub workspace: Operand<'a>,
}

impl<'a> StandardArgs<'a> {
    /// Operands of a problem without a mask. Each is a buffer, or an [`Operand`] that starts somewhere in
    /// one.
    pub fn new(
        q: impl Into<Operand<'a>>,
        k: impl Into<Operand<'a>>,
        v: impl Into<Operand<'a>>,
        o: impl Into<Operand<'a>>,
        workspace: impl Into<Operand<'a>>,
    ) -> Self {
        Self { q: q.into(), k: k.into(), v: v.into(), o: o.into(), mask: None, workspace: workspace.into() }
    }

    /// Adds the dense mask.
    #[must_use]
    pub fn with_mask(self, mask: impl Into<Operand<'a>>) -> Self {
        Self { mask: Some(mask.into()), ..self }
    }
}

/// Unfused attention on one device: `S = q k^T`, `P = softmax(softmax_scale * S + mask)`, `o = P v`, a launch
/// each.
///
/// Scores are f32 or of the operands' type, P is of the operands' type, sums are f32. A row that sees no key
/// gives 0.
#[derive(Clone, Debug)]
pub struct StandardAttention {
    matmul: Matmul,
    /// Of f16 and bf16, each with scores of the same type and of f32.
    softmax: [[Kernel; 2]; 2],
}

/// Plans a problem; `scores` is the type in which the scores are stored, f32 or that of the operands.
///
/// # Errors
/// What [`Problem::refusals`] finds; `Unsupported` for a window, for lse, and for more than [`MAX_SEQLEN_K`]
/// keys.
pub fn plan(problem: &Problem, scores: DType, soc: &Soc) -> Result<StandardPlan> {
    check(problem, scores, soc)?;
    let s = problem.shape();
    let element = s.dtype.size_bytes() as u64;
    let heads = u64::from(s.batch) * u64::from(s.num_heads);
    // A pitch of whole blocks of 32 bytes.
    let pitch = s.seqlen_k.next_multiple_of(16);
    let elements = heads * u64::from(s.seqlen_q) * u64::from(pitch);
    let is_empty = heads == 0 || s.seqlen_q == 0;
    let masked =
        if s.mask == Mask::Causal { u64::from(s.seqlen_q) * u64::from(s.seqlen_k) * element } else { 0 };
    Ok(StandardPlan {
        problem: *problem,
        soc: soc.clone(),
        launches: if is_empty { None } else { Some(launches(problem, scores, pitch, soc)?) },
        mask_bytes: masked,
        scores_bytes: (elements * scores.size_bytes() as u64).next_multiple_of(LINE_BYTES),
        p_bytes: (elements * element).next_multiple_of(LINE_BYTES),
    })
}

fn check(problem: &Problem, scores: DType, soc: &Soc) -> Result<()> {
    let mut reasons = problem.refusals(soc);
    let mut unsupported = |text: String| reasons.push(Reason::unsupported(text));
    if problem.want_lse {
        unsupported("want_lse = true given, false wanted: unfused attention writes no lse".to_owned());
    }
    if problem.shift_keys {
        unsupported("shift_keys is given; unfused attention does not shift keys".to_owned());
    }
    if matches!(problem.spec.mask, Mask::Window { .. }) {
        unsupported("mask = window given; supported: none, causal".to_owned());
    }
    if problem.seqlen_k > MAX_SEQLEN_K {
        unsupported(format!("seqlen_k = {}; supported: 0 to {MAX_SEQLEN_K}", problem.seqlen_k));
    }
    if let Err(error) = softmax_kernel_name(problem.spec.dtype, scores) {
        unsupported(error.to_string());
    }
    Reason::refuse(&format!("unfused attention on {}", soc.name), &reasons)
}

/// The heads are two batch dimensions, k heads and the q heads that share one; along the second k and v do
/// not move.
fn launches(problem: &Problem, scores_dtype: DType, pitch: u32, soc: &Soc) -> Result<Launches> {
    let s = problem.shape();
    let group = s.num_heads / s.num_heads_k;
    let batch = [s.batch, s.num_heads_k, group];
    // Attention's strides are of batches, rows and heads.
    let of_q = |[b, row, head]: [u64; 3]| Some(Strides { batch: [b, head * u64::from(group), head], row });
    let of_k = |[b, row, head]: [u64; 3]| Some(Strides { batch: [b, head, 0], row });
    let matrix = u64::from(s.seqlen_q) * u64::from(pitch);
    let of_scores = of_q([u64::from(s.num_heads) * matrix, u64::from(pitch), matrix]);
    let scores = matmul::Problem {
        a_strides: of_q(s.q_stride),
        b_strides: of_k(s.k_stride),
        c_strides: of_scores,
        ..matmul::Problem::new(s.dtype, [s.seqlen_q, s.seqlen_k, s.head_dim])
            .with_batch(batch)
            .with_b_layout(BLayout::Nk)
            .with_dtype_out(scores_dtype)
    };
    let output = matmul::Problem {
        a_strides: of_scores,
        b_strides: of_k(s.v_stride),
        c_strides: of_q(s.o_stride),
        ..matmul::Problem::new(s.dtype, [s.seqlen_q, s.head_dim_v, s.seqlen_k]).with_batch(batch)
    };
    let matrices = Scores {
        num_heads: s.batch * s.num_heads,
        rows: s.seqlen_q,
        cols: s.seqlen_k,
        pitch,
        dtype: scores_dtype,
    };
    let scores = match s.seqlen_k {
        0 => None,
        _ => {
            let softmax = softmax::tiling(matrices, s.mask == Mask::Causal, s.softmax_scale, soc);
            Some((matmul::plan(&scores, soc)?, softmax))
        }
    };
    Ok(Launches { scores, scores_dtype, output: matmul::plan(&output, soc)? })
}

impl StandardPlan {
    /// What is planned.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Bytes of the workspace: scores and P.
    pub fn workspace_bytes(&self) -> u64 {
        self.scores_bytes + self.p_bytes
    }

    /// Bytes of the dense mask; 0 without a mask.
    pub fn mask_bytes(&self) -> u64 {
        self.mask_bytes
    }

    fn check(&self, args: &StandardArgs<'_>) -> Result<()> {
        let element = self.problem.spec.dtype.size_bytes() as u64;
        let mut operands = tensors(&self.problem.shape(), [args.q, args.k, args.v, args.o]).to_vec();
        operands.push(Named::written("workspace", args.workspace, self.workspace_bytes(), LINE_BYTES));
        match (args.mask, self.problem.spec.mask) {
            (Some(mask), Mask::Causal) => operands.push(Named::read("mask", mask, self.mask_bytes, element)),
            (None, Mask::Causal) => {
                return Err(Error::invalid(
                    "unfused attention launch: mask is missing, but the plan reads it",
                ))
            }
            (Some(_), _) => {
                return Err(Error::invalid(
                    "unfused attention launch: mask is given, but the plan does not read it",
                ))
            }
            (None, _) => {}
        }
        refuse("unfused attention launch", &operands)
    }
}

impl StandardAttention {
    /// Loads the kernels.
    ///
    /// # Errors
    /// `KernelsNotBuilt` when this build has no kernels for the device, `Driver`.
    pub fn new(device: &Device) -> Result<Self> {
        Self::from_module(&kernels::load(device)?)
    }

    /// As [`Self::new`], with the kernels of an image that was built elsewhere.
    ///
    /// # Errors
    /// `Driver` when the image lacks a kernel.
    pub fn from_module(module: &Module) -> Result<Self> {
        let kernel = |dtype, scores| module.kernel(softmax_kernel_name(dtype, scores)?);
        let pair = |dtype| Ok::<_, Error>([kernel(dtype, dtype)?, kernel(dtype, DType::F32)?]);
        Ok(Self { matmul: Matmul::from_module(module)?, softmax: [pair(DType::F16)?, pair(DType::Bf16)?] })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.matmul.device()
    }

    /// Queues the three launches on a stream and returns at once.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while a kernel runs is
    /// told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &StandardPlan, args: StandardArgs<'_>) -> Result<()> {
        self.device().require_planned_for(&plan.soc, "unfused attention launch")?;
        plan.check(&args)?;
        let Some(launches) = &plan.launches else { return Ok(()) };
        let scores = args.workspace;
        // `check` has found the workspace to hold both parts, so the offset fits.
        let p_offset = usize::try_from(plan.scores_bytes).unwrap_or(usize::MAX);
        let p = scores.with_offset_bytes(scores.offset_bytes().saturating_add(p_offset));
        if let Some((product, tiling)) = &launches.scores {
            self.matmul.launch(stream, product, matmul::Args::new(args.q, args.k, scores))?;
            let softmax = &self.softmax[usize::from(plan.problem.spec.dtype == DType::Bf16)]
                [usize::from(launches.scores_dtype == DType::F32)];
            // The kernel touches no mask that the plan does not read; the scores stand in as a valid address.
            let mask = args.mask.unwrap_or(scores);
            let operands = SoftmaxOperands { scores, mask, p, tiling };
            softmax.launch(stream, tiling.num_cores, &operands.args()?)?;
        }
        self.matmul.launch(stream, &launches.output, matmul::Args::new(p, args.v, args.o))
    }
}

/// The dense causal mask `[seqlen_q, seqlen_k]`, bottom-right aligned: `visible` where a query sees a key,
/// else `hidden`.
///
/// For [`StandardArgs::mask`] these are 0 and -inf. It takes `seqlen_q * seqlen_k` elements: the memory that
/// tiling-mask saves.
pub fn dense_causal_mask<T: Clone>([seqlen_q, seqlen_k]: [u32; 2], visible: &T, hidden: &T) -> Vec<T> {
    let mut mask = Vec::new();
    for row in 0..i64::from(seqlen_q) {
        let last = row + i64::from(seqlen_k) - i64::from(seqlen_q);
        mask.extend(
            (0..i64::from(seqlen_k)).map(|key| if key <= last { visible.clone() } else { hidden.clone() }),
        );
    }
    mask
}
