//! What `flash_fwd_matmul` adds to the kernels it is made of is needed, and the machine reports the absence
//! of each: the two flags between attention and product, and the groups that have no part in one of the two.

use std::fmt::Write as _;
use std::fs;

use fastattention::kernels::operands::FlashFwdMatmulOperands;
use fastattention::runtime::{Buffer, Stream};
use fastattention::tiling::mask::{m_mask, MASK_DIM};
use fastattention::tiling::Candidate;
use fastattention::{attention, matmul, DType};
use fastattention_testkit::kernels::{ascendc, Registration};
use half::f16;

use crate::mutation::{fault_of, load};

/// (What, statements taken out, their replacement, groups for attention and for the product.)
const MUTANTS: [(&str, &[&str], &str, [u32; 2]); 5] = [
    ("nothing", &[], "", [2, 3]),
    (
        "kOutputReady",
        &[
            "AscendC::CrossCoreWaitFlag<kCrossCoreMode>(kOutputReady);",
            "AscendC::CrossCoreSetFlag<kCrossCoreMode, PIPE_MTE3>(kOutputReady);",
        ],
        "",
        [2, 3],
    ),
    (
        "kAllOutputsReady",
        &[
            "AscendC::CrossCoreSetFlag<kAllCoresMode, PIPE_FIX>(kAllOutputsReady);",
            "AscendC::CrossCoreWaitFlag<kAllCoresMode>(kAllOutputsReady);",
        ],
        "",
        [2, 3],
    ),
    (
        "groups without items",
        &["block_index() < data.num_cores", "block_index() / 2 < data.num_cores"],
        "true",
        [2, 3],
    ),
    ("groups without tiles", &["block_index() >= data.num_cores"], "false", [3, 2]),
];

/// From families.h, which the mutants include.
const PARAMS: &str = "FA_FLASH_FWD_MATMUL_OPERANDS(FA_PARAMETER, FA_COMMA)";

/// All mutants as one library, each in a namespace of its own.
fn compile() -> Vec<u8> {
    let kernels = ascendc().join("kernels");
    let text = fs::read_to_string(kernels.join("flash_fwd_matmul.cpp")).unwrap();
    let original = text.split("\n#undef FA_").next().unwrap();
    let mut unit = String::new();
    for (index, (what, out, replacement, _)) in MUTANTS.iter().enumerate() {
        let space = format!("namespace mutant_{index} {{ using namespace fa;");
        let mut mutant = original.replace("namespace fa {", &space);
        for include in ["families.h", "flash_fwd_cube.h", "flash_fwd_vector.h", "matmul_kernel.h"] {
            mutant = mutant.replace(&format!("\"{include}\""), &format!("{:?}", kernels.join(include)));
        }
        for statement in *out {
            assert_eq!(mutant.matches(statement).count(), 1, "{what}: {statement}");
            mutant = mutant.replace(statement, replacement);
        }
        write!(
            unit,
            "{mutant}\nFA_ENTRY(FLASH_FWD_MATMUL, kernel_{index}, mutant_{index}::flash_fwd_matmul<half, float>)\n"
        )
        .unwrap();
    }
    let names: Vec<String> = (0..MUTANTS.len()).map(|index| format!("kernel_{index}")).collect();
    let registrations: Vec<_> =
        names.iter().map(|name| Registration { name, params: PARAMS, kernel_type: "kMixAic1Aiv2" }).collect();
    fastattention_testkit::kernels::compile(&unit, &registrations)
}

/// The fault that a mutant meets: three rows of blocks and two heads, and tiles of the product that need both
/// heads.
fn fault(image: &[u8], index: usize, [attention_cores, product_cores]: [u32; 2]) -> Option<String> {
    let (device, module) = load(image);
    let problem = attention::Problem::new(DType::F16, [1, 90, 2, 32]);
    let candidate =
        Candidate { block_m: 32, block_n: 64, chunk_n: 64, num_stages: 3, preload: 2, bundle_steps: 1 };
    let attention = attention::plan_with(&problem, device.soc(), candidate).unwrap();
    let product = matmul::plan(&matmul::Problem::new(DType::F16, [90, 1000, 64]), device.soc()).unwrap();
    let (mut tiling, mut product_tiling) = (attention.tiling_data(), product.tiling_data());
    assert!(attention.num_items() > 3 && product.num_cores() > 3, "{attention}\n{product}");
    (tiling.num_cores, product_tiling.num_cores) = (attention_cores, product_cores);

    let mut rng = fastrand::Rng::with_seed(3);
    let mut random = |bytes: u64| {
        let data: Vec<f16> = (0..bytes / 2).map(|_| f16::from_f32(rng.f32() - 0.5)).collect();
        Buffer::from_slice(&device, &data).unwrap()
    };
    let alloc = |bytes: u64| Buffer::alloc(&device, usize::try_from(bytes).unwrap()).unwrap();
    let ([q, k, v, o, _], [_, b, c]) = (attention.shape().operand_bytes(), product.problem().operand_bytes());
    let (q, k, v, b) = (random(q), random(k), random(v), random(b));
    let (o, c, workspace) = (alloc(o), alloc(c), alloc(attention.workspace_bytes()));
    // A product that comes too early is a race, not a use of what nothing has written.
    o.zero().unwrap();
    let mask = Buffer::from_slice(&device, &m_mask(MASK_DIM)).unwrap();
    let [a, lse] = [&o, &workspace].map(Into::into);
    let args = FlashFwdMatmulOperands {
        q: (&q).into(),
        k: (&k).into(),
        v: (&v).into(),
        mask: (&mask).into(),
        o: (&o).into(),
        lse,
        workspace: (&workspace).into(),
        a,
        b: (&b).into(),
        c: (&c).into(),
        tiling: &tiling,
        matmul_tiling: &product_tiling,
    };
    let args = args.args().unwrap();
    let (kernel, stream) =
        (module.kernel(&format!("kernel_{index}")).unwrap(), Stream::new(&device).unwrap());
    let launched = kernel.launch(&stream, attention_cores.max(product_cores), &args);
    fault_of(launched.and_then(|()| stream.synchronize()))
}

#[test]
fn every_flag_and_every_group_that_waits_is_needed_and_its_absence_reported() {
    let image = compile();
    for (index, (what, out, _, cores)) in MUTANTS.iter().enumerate() {
        let fault = fault(&image, index, *cores);
        match fault {
            None => assert!(out.is_empty(), "{what}: not reported"),
            Some(text) => assert!(!out.is_empty() && text.contains("Fault: Race"), "{what}: {text}"),
        }
    }
}
