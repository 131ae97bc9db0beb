//! Kernels as the model takes them, made once.

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Context, Result};
use fastattention::cuda;
use fastattention_v100::{Kernel, Launch, Tools};

/// What times are modelled from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    MachineCode(&'a Tools),
    Ptx,
}

/// Kernels by their names.
pub(super) struct Kernels<'a> {
    source: Source<'a>,
    made: BTreeMap<&'static str, Kernel>,
}

impl<'a> Kernels<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, made: BTreeMap::new() }
    }

    /// The shipped kernel of a launch. It must not spill.
    pub(super) fn get(&mut self, planned: &cuda::Launch) -> Result<&Kernel> {
        let name = planned.kernel();
        self.once(name, |source| {
            let Source::MachineCode(tools) = source else {
                return Ok(Kernel::from_ptx(planned.ptx(), name)?);
            };
            let made = tools.assemble(planned.ptx())?;
            let spilled = made.spilled_bytes;
            ensure!(spilled == 0, "{name}: ptxas spills {spilled} bytes, none wanted");
            Ok(Kernel::new(tools, &made.cubin, name)?)
        })
    }

    /// The only kernel of a file of machine code with this in its name.
    pub(super) fn of_file(&mut self, cubin: &[u8], name: &'static str) -> Result<&Kernel> {
        self.once(name, |source| match source {
            Source::MachineCode(tools) => Ok(Kernel::new(tools, cubin, name)?),
            Source::Ptx => bail!("{name} is there as machine code only, so ptxas and nvdisasm are wanted"),
        })
    }

    fn once(
        &mut self,
        name: &'static str,
        make: impl FnOnce(Source<'a>) -> Result<Kernel>,
    ) -> Result<&Kernel> {
        if !self.made.contains_key(name) {
            self.made.insert(name, make(self.source)?);
        }
        self.made.get(name).context("it was made")
    }
}

/// A planned launch as the model takes it.
pub(super) fn launch(planned: &cuda::Launch) -> Launch {
    Launch {
        grid: planned.grid(),
        threads: [planned.threads(), 1],
        shared_bytes: planned.shared_bytes(),
        params: planned.params().to_vec(),
    }
}
