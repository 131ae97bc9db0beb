//! Launching a plan.

use super::super::rows::{in_place, index_of, push_pair};
use super::{Plan, KERNELS};
use crate::attention::operands::given;
use crate::kernels;
use crate::kernels::operands::ActivationOperands;
use crate::runtime::{refuse_with, Device, Kernel, Module, Named, NamedList, Operand, Stream};
use crate::Result;

/// The operator on one device.
///
/// Made once and used for every launch, from any thread and on any stream of the device.
#[derive(Clone, Debug)]
pub struct Activation {
    device: Device,
    /// In the order of [`KERNELS`].
    kernels: Vec<Kernel>,
}

/// Where the result goes.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    To(Operand<'a>),
    X,
    Up,
}

/// Operands of a launch. The caller owns all of them ([the rules](crate::runtime#memory-and-streams)).
///
/// y shares no byte with x or up, unless it is one of them.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    x: Operand<'a>,
    up: Option<Operand<'a>>,
    y: Place<'a>,
}

impl<'a> Args<'a> {
    /// Each is a buffer, or an [`Operand`] that starts somewhere in one.
    pub fn new(x: impl Into<Operand<'a>>, y: impl Into<Operand<'a>>) -> Self {
        Self { x: x.into(), up: None, y: Place::To(y.into()) }
    }

    /// y takes the place of x.
    pub fn in_place(x: impl Into<Operand<'a>>) -> Self {
        Self { x: x.into(), up: None, y: Place::X }
    }

    /// y takes the place of up.
    pub fn in_place_of_up(x: impl Into<Operand<'a>>, up: impl Into<Operand<'a>>) -> Self {
        Self { x: x.into(), up: Some(up.into()), y: Place::Up }
    }

    /// x and up are the halves of `rows`, as [`Problem::with_halves`](super::Problem::with_halves) plans it.
    pub fn of_halves(plan: &Plan, rows: impl Into<Operand<'a>>, y: impl Into<Operand<'a>>) -> Self {
        let (problem, x) = (plan.problem(), rows.into());
        let half = problem.dim as usize * problem.dtype.size_bytes();
        Self::new(x, y).with_up(x.with_offset_bytes(x.offset_bytes().saturating_add(half)))
    }

    /// Adds up; given exactly when the plan is gated.
    #[must_use]
    pub fn with_up(self, up: impl Into<Operand<'a>>) -> Self {
        Self { up: Some(up.into()), ..self }
    }

    /// The operands with their names; what is read and written in place is one.
    fn named(&self, plan: &Plan) -> NamedList {
        let problem = plan.problem();
        let mut named = NamedList::new();
        let [x, y] = problem.in_and_out();
        match self.y {
            Place::To(place) => push_pair(&mut named, [x, y], self.x, Some(place)),
            Place::X => push_pair(&mut named, [x, y], self.x, None),
            Place::Up => named.push(Named::tensor(&x, self.x, x.span_bytes())),
        }
        if let Some((mut tensor, up)) = problem.up().zip(self.up) {
            tensor.is_output = matches!(self.y, Place::Up);
            named.push(Named::tensor(&tensor, up, problem.up_bytes()));
        }
        named
    }

    /// What is missing or not wanted, and what cannot be done in place.
    fn misplaced(&self, plan: &Plan) -> Vec<String> {
        let problem = plan.problem();
        let why = ["the plan is gated", "the plan is not gated"];
        let up = given("up", self.up.is_some(), problem.is_gated, why);
        let [x, y] = problem.in_and_out();
        let apart = match self.y {
            Place::To(_) => None,
            Place::X => in_place(&x, &y),
            Place::Up => problem.up().and_then(|up| in_place(&up, &y)),
        };
        up.into_iter().chain(apart).collect()
    }
}

impl Activation {
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

    /// Queues the function and returns at once; nothing is allocated, copied or waited for. A plan without
    /// rows queues nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan of another SoC, and for operands that are missing, misaligned, too small,
    /// of another device, or written while another one lies there. What goes wrong while the kernel runs
    /// is told when the stream is synchronised.
    pub fn launch(&self, stream: &Stream, plan: &Plan, args: Args<'_>) -> Result<()> {
        self.device.require_planned_for(plan.soc(), "activation launch")?;
        refuse_with("activation launch", &args.named(plan), args.misplaced(plan))?;
        let x = args.x;
        // Without up the kernel reads none, but it has an address.
        let up = args.up.unwrap_or(x);
        let y = match args.y {
            Place::To(place) => place,
            Place::X => x,
            Place::Up => up,
        };
        let tiling = plan.tiling_data();
        let list = ActivationOperands { x, up, y, tiling: &tiling }.args()?;
        if plan.num_cores() == 0 {
            return Ok(());
        }
        self.kernels[index_of(plan.problem().dtype)].launch(stream, plan.num_cores(), &list)
    }
}
