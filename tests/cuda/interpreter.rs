//! Planned launches, run by the interpreter of the PTX, against f64. It faults where a kernel reads what
//! nobody wrote, or leaves its operands: so grids, parameters, shared memory and the places in the workspace
//! have to be right, and the kernel has to fit.

use std::collections::BTreeMap;
use std::sync::Mutex;

use fastattention::attention::host::Output;
use fastattention::cuda::{plan, Addresses, DeviceFacts, Launch, Plan};
use fastattention_sm70 as sm70;
use fastattention_testkit::cases::Case;
use fastattention_testkit::compare::assert_same;
use fastattention_testkit::data::{operands, problem, Operand};
use fastattention_testkit::run::compared;
use half::f16;

use crate::table;

/// What lies in o and lse before a launch.
const UNTOUCHED: [u8; 4] = [0x77, 0x7e, 0xef, 0xbe];

/// Parsed once: the texts have thousands of lines.
static MODULES: Mutex<BTreeMap<&str, sm70::Module>> = Mutex::new(BTreeMap::new());

pub(crate) fn run_launch(memory: &mut sm70::Memory, launch: &Launch) -> Result<(), sm70::Error> {
    let mut modules = MODULES.lock().unwrap();
    if !modules.contains_key(launch.kernel()) {
        modules.insert(launch.kernel(), sm70::Module::parse(launch.ptx())?);
    }
    let params = sm70::Params::packed(launch.params());
    let how = sm70::Launch {
        shared_bytes: launch.shared_bytes(),
        ..sm70::Launch::new(launch.grid(), [launch.threads(), 1, 1], &params)
    };
    modules[launch.kernel()].kernel(launch.kernel())?.launch(memory, &how)?;
    Ok(())
}

/// The tensor as it lies on the device; what is between its rows nobody wrote.
fn upload(memory: &mut sm70::Memory, name: &str, operand: &Operand<f16>, extent: [u32; 3], dim: u32) -> u64 {
    let address = memory.allocate(name, 2 * operand.data.len());
    for_rows(operand.stride, extent, |at| {
        let row = &operand.data[at..at + dim as usize];
        memory.write(address + 2 * at as u64, bytemuck::cast_slice(row)).unwrap();
    });
    address
}

/// Calls with the first element of every row.
fn for_rows(stride: [u64; 3], [batch, seqlen, heads]: [u32; 3], mut visit: impl FnMut(usize)) {
    for b in 0..u64::from(batch) {
        for s in 0..u64::from(seqlen) {
            for h in 0..u64::from(heads) {
                visit(usize::try_from(b * stride[0] + s * stride[1] + h * stride[2]).unwrap());
            }
        }
    }
}

/// Runs a plan of a problem that the case has.
fn run(plan: &Plan, case: &Case, inputs: &[Operand<f16>; 3]) -> Result<Output<f16>, sm70::Error> {
    let c = case;
    let mut memory = sm70::Memory::new();
    let extents = [[c.batch, c.seqlen_q, c.num_heads], [c.batch, c.seqlen_k, c.num_heads_k]];
    let [q, k, v] = inputs;
    let q = upload(&mut memory, "q", q, extents[0], c.head_dim);
    let k = upload(&mut memory, "k", k, extents[1], c.head_dim);
    let v = upload(&mut memory, "v", v, extents[1], c.head_dim_v);
    let [.., o_bytes, lse_bytes] = plan.shape().operand_bytes().map(|bytes| usize::try_from(bytes).unwrap());
    let pattern = |bytes: usize| UNTOUCHED.repeat(bytes.div_ceil(4))[..bytes].to_vec();
    let o = memory.upload("o", &pattern(o_bytes));
    let lse = memory.upload("lse", &pattern(lse_bytes));
    let workspace = memory.allocate("workspace", usize::try_from(plan.workspace_bytes()).unwrap());
    for launch in plan.launches(&Addresses { q, k, v, o, lse, workspace, ..Addresses::default() }) {
        run_launch(&mut memory, &launch)?;
    }
    let read = |address| memory.read(address).unwrap();
    let o: Vec<f16> = bytemuck::pod_collect_to_vec(read(o));
    let mut gaps = o.clone();
    for_rows(plan.shape().o_stride, extents[0], |at| {
        for (n, gap) in gaps[at..at + c.head_dim_v as usize].iter_mut().enumerate() {
            *gap = f16::from_le_bytes([UNTOUCHED[2 * ((at + n) % 2)], UNTOUCHED[2 * ((at + n) % 2) + 1]]);
        }
    });
    assert!(
        bytemuck::cast_slice::<f16, u8>(&gaps) == &pattern(o_bytes)[..],
        "{case:?}: o was written between its rows"
    );
    Ok(Output { o, lse: bytemuck::pod_collect_to_vec(read(lse)) })
}

/// Plans for a V100, runs, and compares with f64.
fn check(case: &Case) -> Result<Plan, String> {
    let plan = plan(&problem(case), &DeviceFacts::v100()).map_err(|error| error.to_string())?;
    let inputs = operands(case);
    let out = run(&plan, case, &inputs).map_err(|error| error.to_string())?;
    compared(case, &inputs, &out, &table::softmax_error, 0.0).check()?;
    Ok(plan)
}

fn check_all(cases: &[Case]) {
    let (mut failures, mut kernels, mut joined) = (Vec::new(), BTreeMap::<&str, u32>::new(), 0);
    for case in cases {
        match check(case) {
            Ok(plan) => {
                *kernels.entry(plan.kernel().unwrap_or("none")).or_default() += 1;
                joined += u32::from(plan.num_splits() > 1);
            }
            Err(text) => failures.push(format!("{case:?}\n  {text}")),
        }
    }
    println!(
        "{} problems in the interpreter, by kernel: {kernels:?}; {joined} with several splits",
        cases.len()
    );
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(kernels.len() >= 13 && joined >= 5, "every kernel is wanted, and splits: {kernels:?}, {joined}");
}

#[test]
fn planned_launches_agree_with_f64() {
    check_all(&table::sample());
}

#[test]
#[ignore = "some minutes: cargo test --features cuda --test cuda -- --ignored"]
fn every_planned_launch_agrees_with_f64() {
    check_all(&table::all());
}

/// The kernels always write lse. Where nobody wants it, it goes to the workspace, and o is the same.
#[test]
fn o_does_not_depend_on_lse_being_wanted() {
    for case in [&table::of_the_table()[100], &table::more()[1]] {
        let inputs = operands(case);
        let with = problem(case);
        let mut without = with;
        without.want_lse = false;
        let [with, without] = [with, without].map(|problem| plan(&problem, &DeviceFacts::v100()).unwrap());
        assert!(without.workspace_bytes() > with.workspace_bytes());
        let [with, without] = [with, without].map(|plan| run(&plan, case, &inputs).unwrap());
        assert_same(&with.o, &without.o, "o");
        assert!(without.lse.is_empty() && !with.lse.is_empty());
    }
}

/// The interpreter is a judge only if it sees what is wrong: a grid too small, parameters of another kernel's
/// shape, less shared memory.
#[test]
fn a_launch_that_is_not_as_planned_does_not_pass() {
    let case = &table::of_the_table()[300];
    let inputs = operands::<f16>(case);
    let plan = plan(&problem(case), &DeviceFacts::v100()).unwrap();
    let launch = plan.launches(&Addresses::default()).next().unwrap();
    let mut memory = sm70::Memory::new();
    // Addresses of 0: nothing is there.
    assert!(run_launch(&mut memory, &launch).is_err());
    let params = sm70::Params::packed(&launch.params()[4..]);
    let module = sm70::Module::parse(launch.ptx()).unwrap();
    let how = sm70::Launch::new(launch.grid(), [launch.threads(), 1, 1], &params);
    assert!(module.kernel(launch.kernel()).unwrap().launch(&mut memory, &how).is_err());
    assert!(run(&plan, case, &inputs).is_ok());
}
