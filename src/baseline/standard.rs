//! Unfused attention: the scores go through device memory, and so does a mask of every pair of query and key.

use super::passes::{PassKernels, Passes, Places};
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
    /// Parts of the workspace: scores, then P; or scores and P, scores in f32, and what else passes write.
    parts_bytes: [u64; 3],
}

#[derive(Clone, Debug, PartialEq)]
struct Launches {
    /// `None` without keys: P has no columns then.
    scores: Option<(matmul::Plan, Middle)>,
    output: matmul::Plan,
}

/// From scores to P.
#[derive(Clone, Debug, PartialEq)]
enum Middle {
    /// In one launch, of scores of this type.
    Fused(SoftmaxTilingData, DType),
    Passes(Box<Passes>),
}

/// How scores become P.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Softmax {
    /// In one launch, of scores of this type.
    Fused(DType),
    InPasses,
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

/// Unfused attention on one device: `S = q k^T`, `P = softmax(softmax_scale * S + mask)`, `o = P v`.
///
/// By [`plan`] it is a launch each. By [`plan_in_passes`] softmax is what eager frameworks make of it: scale,
/// mask, cast to f32, softmax, and cast back are a launch each. A row that sees no key gives 0.
#[derive(Clone, Debug)]
pub struct StandardAttention {
    matmul: Matmul,
    /// Of f16 and bf16, each with scores of the same type and of f32.
    softmax: [[Kernel; 2]; 2],
    /// Of f16 and bf16.
    passes: [PassKernels; 2],
}

/// Plans a problem; `scores` is the type in which the scores are stored, f32 or that of the operands. P is of
/// the operands' type, and sums are f32.
///
/// # Errors
/// What [`Problem::refusals`] finds; `Unsupported` for a window, for lse, and for more than [`MAX_SEQLEN_K`]
/// keys.
pub fn plan(problem: &Problem, scores: DType, soc: &Soc) -> Result<StandardPlan> {
    check(problem, scores, soc)?;
    planned(problem, Softmax::Fused(scores), soc)
}

/// Plans a problem in the passes over all scores that an eager framework makes.
///
/// The scores are stored, scaled and masked in the operands' type. Then they are cast to f32, softmax reads
/// and writes f32, and P is cast back. As there, scores that the operands' type cannot hold are lost before
/// they are scaled. The passes move 32 bytes a score: 2 of the product, 4 (scale), 4 (mask), 6 (cast),
/// 8 (softmax), 6 (cast) and 2 of the second product; to this comes a mask, 2 bytes a score, that all heads
/// share.
///
/// # Errors
/// As [`plan`].
pub fn plan_in_passes(problem: &Problem, soc: &Soc) -> Result<StandardPlan> {
    check(problem, problem.spec.dtype, soc)?;
    planned(problem, Softmax::InPasses, soc)
}

fn planned(problem: &Problem, softmax: Softmax, soc: &Soc) -> Result<StandardPlan> {
    let s = problem.shape();
    let element = s.dtype.size_bytes() as u64;
    let heads = u64::from(s.batch) * u64::from(s.num_heads);
    // A pitch of whole blocks of 32 bytes.
    let pitch = s.seqlen_k.next_multiple_of(16);
    let elements = heads * u64::from(s.seqlen_q) * u64::from(pitch);
    let is_empty = heads == 0 || s.seqlen_q == 0;
    let masked =
        if s.mask == Mask::Causal { u64::from(s.seqlen_q) * u64::from(s.seqlen_k) * element } else { 0 };
    let parts = match softmax {
        Softmax::Fused(scores) => [scores.size_bytes() as u64, element, 0],
        Softmax::InPasses => [element, 4, 4],
    };
    Ok(StandardPlan {
        problem: *problem,
        soc: soc.clone(),
        launches: if is_empty { None } else { Some(launches(problem, softmax, pitch, soc)?) },
        mask_bytes: masked,
        parts_bytes: parts.map(|bytes| (elements * bytes).next_multiple_of(LINE_BYTES)),
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
fn launches(problem: &Problem, softmax: Softmax, pitch: u32, soc: &Soc) -> Result<Launches> {
    let s = problem.shape();
    let scores_dtype = if let Softmax::Fused(dtype) = softmax { dtype } else { s.dtype };
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
        dtype_p: s.dtype,
    };
    let has_mask = s.mask == Mask::Causal;
    let middle = || match softmax {
        Softmax::Fused(dtype) => {
            Middle::Fused(softmax::tiling(matrices, has_mask, s.softmax_scale, soc), dtype)
        }
        Softmax::InPasses => Middle::Passes(Box::new(Passes::plan(matrices, has_mask, s.softmax_scale, soc))),
    };
    let scores = match s.seqlen_k {
        0 => None,
        _ => Some((matmul::plan(&scores, soc)?, middle())),
    };
    Ok(Launches { scores, output: matmul::plan(&output, soc)? })
}

impl StandardPlan {
    /// What is planned.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Bytes of the workspace: scores and P; in passes also the scores in f32, twice.
    pub fn workspace_bytes(&self) -> u64 {
        self.parts_bytes.iter().sum()
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
        let passes = |dtype| PassKernels::load(module, dtype);
        Ok(Self {
            matmul: Matmul::from_module(module)?,
            softmax: [pair(DType::F16)?, pair(DType::Bf16)?],
            passes: [passes(DType::F16)?, passes(DType::Bf16)?],
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.matmul.device()
    }

    /// Queues the launches on a stream and returns at once.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while a kernel runs is
    /// told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &StandardPlan, args: StandardArgs<'_>) -> Result<()> {
        self.device().require_planned_for(&plan.soc, "unfused attention launch")?;
        plan.check(&args)?;
        let Some(launches) = &plan.launches else { return Ok(()) };
        // `check` has found the workspace to hold all parts, so the offsets fit.
        let part = |bytes: u64| {
            let offset = usize::try_from(bytes).unwrap_or(usize::MAX);
            args.workspace.with_offset_bytes(args.workspace.offset_bytes().saturating_add(offset))
        };
        let [first, second, _] = plan.parts_bytes;
        let [scores, next, last] = [part(0), part(first), part(first + second)];
        let mut p = next;
        if let Some((product, middle)) = &launches.scores {
            self.matmul.launch(stream, product, matmul::Args::new(args.q, args.k, scores))?;
            let is_bf16 = usize::from(plan.problem.spec.dtype == DType::Bf16);
            match middle {
                Middle::Fused(tiling, dtype) => {
                    let softmax = &self.softmax[is_bf16][usize::from(*dtype == DType::F32)];
                    // The kernel touches no mask that the plan does not read; the scores stand in as a valid
                    // address.
                    let mask = args.mask.unwrap_or(scores);
                    let operands = SoftmaxOperands { scores, mask, p, tiling };
                    softmax.launch(stream, tiling.num_cores, &operands.args()?)?;
                }
                Middle::Passes(passes) => {
                    p = scores;
                    let at = Places { scores, wide: next, other: last, mask: args.mask };
                    self.passes[is_bf16].launch(stream, passes, at)?;
                }
            }
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
