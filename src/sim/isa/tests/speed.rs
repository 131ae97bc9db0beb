use super::*;
#[test]
#[ignore]
fn speed() {
    let mut bench = Bench::new();
    bench.put(Space::Ub, 0, &vec![0x3f; 190_000]);
    for (name, elem, ed, args) in [
        ("vadd", Elem::F32, Elem::None, vec![at(0), at(65536), at(131072), 200, 1, 1, 1, 8, 8, 8]),
        ("vsub", Elem::F32, Elem::None, vec![at(0), at(0), at(131072), 200, 1, 1, 0, 8, 8, 1]),
        ("vmax", Elem::F32, Elem::None, vec![at(0), at(65536), at(131072), 200, 1, 1, 1, 8, 8, 8]),
        ("vmla", Elem::F32, Elem::None, vec![at(0), at(65536), at(131072), 200, 1, 1, 1, 8, 8, 8]),
        ("vmuls", Elem::F32, Elem::None, vec![at(0), at(0), 0x3f000000, 200, 1, 1, 8, 8]),
        ("vexp", Elem::F32, Elem::None, vec![at(0), at(65536), 200, 1, 1, 8, 8]),
        ("vln", Elem::F32, Elem::None, vec![at(0), at(65536), 200, 1, 1, 8, 8]),
        ("vcgmax", Elem::F32, Elem::None, vec![at(0), at(65536), 200, 1, 1, 8]),
        ("vcadd", Elem::F32, Elem::None, vec![at(0), at(65536), 200, 1, 1, 8, 0]),
        ("vconv_f322f16", Elem::F32, Elem::F16, vec![at(0), at(65536), 200, 1, 1, 4, 8]),
        ("vconv_f322bf16r", Elem::F32, Elem::Bf16, vec![at(0), at(65536), 200, 1, 1, 4, 8]),
        ("vconv_f162f32", Elem::F16, Elem::F32, vec![at(0), at(65536), 200, 1, 1, 8, 4]),
        ("vadd", Elem::F16, Elem::None, vec![at(0), at(65536), at(131072), 200, 1, 1, 1, 8, 8, 8]),
        ("vector_dup", Elem::F32, Elem::None, vec![at(0), 0, 200, 1, 1, 8, 0]),
        ("vsel", Elem::F32, Elem::None, vec![at(0), at(65536), at(131072), 200, 1, 1, 1, 8, 8, 8]),
        ("vbrcb", Elem::F32, Elem::None, vec![at(0), at(65536), 1, 8, 200]),
    ] {
        let lanes = 256 / elem.bytes().max(ed.bytes());
        let n = 200;
        bench.run(name, elem, ed, &args).unwrap();
        let t = std::time::Instant::now();
        for _ in 0..n {
            bench.run(name, elem, ed, &args).unwrap();
        }
        let dt = t.elapsed().as_secs_f64();
        eprintln!(
            "{name:16} {elem:?} {:.3} ns/elem, 8.4M: {:.1} ms",
            dt * 1e9 / (n * 200 * lanes) as f64,
            dt * 1e3 / (n * 200 * lanes) as f64 * 8.4e6
        );
    }
}
