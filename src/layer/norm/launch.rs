//! Launching a plan.

use super::super::rows::{in_place, push_pair};
use super::{index_of, Plan, KERNELS};
use crate::attention::operands::given;
use crate::kernels;
use crate::kernels::operands::NormOperands;
use crate::runtime::{refuse_with, Device, Kernel, Module, Named, NamedList, Operand, Stream};
use crate::spec::Tensor;
use crate::Result;

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Norm {
    device: Device,
    /// In the order of [`KERNELS`].
    kernels: Vec<Kernel>,
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// h and y share no byte with each other or with the rest, unless they are r and x themselves.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    /// Rows.
    pub x: Operand<'a>,
    /// Factor of each column.
    pub weight: Operand<'a>,
    /// Result; x itself unless given.
    pub y: Option<Operand<'a>>,
    /// Added to each column; given exactly when the plan has a bias.
    pub bias: Option<Operand<'a>>,
    /// Added to x; given exactly when the plan has a residual.
    pub r: Option<Operand<'a>>,
    /// Where the sum goes; r itself unless given.
    pub h: Option<Operand<'a>>,
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(x: impl Into<Operand<'a>>, weight: impl Into<Operand<'a>>, y: impl Into<Operand<'a>>) -> Self {
        Self { y: Some(y.into()), ..Self::in_place(x, weight) }
    }

    /// y takes the place of x.
    pub fn in_place(x: impl Into<Operand<'a>>, weight: impl Into<Operand<'a>>) -> Self {
        Self { x: x.into(), weight: weight.into(), y: None, bias: None, r: None, h: None }
    }

    /// Adds the bias.
    #[must_use]
    pub fn with_bias(self, bias: impl Into<Operand<'a>>) -> Self {
        Self { bias: Some(bias.into()), ..self }
    }

    /// Adds r, and where the sum goes.
    #[must_use]
    pub fn with_residual(self, r: impl Into<Operand<'a>>, h: impl Into<Operand<'a>>) -> Self {
        Self { r: Some(r.into()), h: Some(h.into()), ..self }
    }

    /// Adds r, whose place the sum takes.
    #[must_use]
    pub fn with_residual_in_place(self, r: impl Into<Operand<'a>>) -> Self {
        Self { r: Some(r.into()), h: None, ..self }
    }

    /// The operands with their names; what is read and written in place is one.
    fn named(&self, plan: &Plan) -> NamedList {
        let problem = plan.problem();
        let mut named = NamedList::new();
        push_pair(&mut named, problem.in_and_out(), self.x, self.y);
        if let Some((tensors, r)) = problem.residuals().zip(self.r) {
            push_pair(&mut named, tensors, r, self.h);
        }
        let weights = problem.weights().zip([Some(self.weight), self.bias]);
        named.extend(
            weights
                .filter_map(|(tensor, place)| Some(Named::tensor(&tensor, place?, problem.weight_bytes()))),
        );
        named
    }

    /// What is missing or not wanted, and what cannot be done in place.
    fn misplaced(&self, plan: &Plan) -> Vec<String> {
        let problem = plan.problem();
        let is_given = self.r.is_some() || self.h.is_some();
        let r = given(
            "r",
            is_given,
            problem.has_residual,
            ["the plan adds a residual", "the plan adds no residual"],
        );
        let bias = ["the plan adds a bias", "the plan adds no bias"];
        let bias = given("bias", self.bias.is_some(), problem.has_bias, bias);
        let same = |[from, to]: [Tensor; 2]| in_place(&from, &to);
        let x = same(problem.in_and_out()).filter(|_| self.y.is_none());
        let h = problem.residuals().and_then(same).filter(|_| self.h.is_none());
        r.into_iter().chain(bias).chain(x).chain(h).collect()
    }
}

impl Norm {
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
        let kernels = KERNELS.iter().map(|(_, name)| module.kernel(name)).collect::<Result<_>>()?;
        Ok(Self { device: module.device().clone(), kernels })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Queues the norm and returns at once; nothing is allocated, copied or waited for. A plan without rows
    /// queues nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while the kernel runs
    /// is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.device.require_planned_for(plan.soc(), "norm launch")?;
        refuse_with("norm launch", &args.named(plan), args.misplaced(plan))?;
        let Args { x, weight, y, bias, r, h } = args;
        // What the kernel does not touch needs an address all the same.
        let (y, r) = (y.unwrap_or(x), r.unwrap_or(x));
        let (bias, h) = (bias.unwrap_or(weight), h.unwrap_or(r));
        let tiling = plan.tiling_data();
        let list = NormOperands { x, r, weight, bias, h, y, tiling: &tiling }.args()?;
        if plan.num_cores() == 0 {
            return Ok(());
        }
        self.kernels[index_of(plan.problem().types())?].launch(stream, plan.num_cores(), &list)
    }
}
