//! Keys and queries that are rotated on their way, against rotations in f64 by FlashAttention's 2x rule.

use fastattention::append::{
    plan, Append, Args, Mistake, Number, Pairing, PlaceType, Report, Rotary, RotaryArgs,
};
use fastattention::runtime::{Buffer, Stream};
use fastattention::DType;
use fastattention_testkit::compare::{assert_same, check_o, unit};
use fastattention_testkit::data::normal;
use fastrand::Rng;
use half::{bf16, f16};

use super::Cache::{self, Gaps, Nz, Padded, PaddedHeadsFirst, Paged, PagedHeadsFirst, Vllm};
use super::{
    append, case_of, filled, old_caches, report_of, status_of, upload, upload_places, Case, Rows, OLD,
};
use Pairing::{Adjacent, Halves};

/// Where the queries of an append come from and go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queries {
    pub(super) heads: usize,
    pub(super) from: Rows,
    /// In place unless given.
    pub(super) to: Option<Rows>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Turned {
    pub(super) case: Case,
    pub(super) pairing: Pairing,
    pub(super) dims: usize,
    pub(super) q: Option<Queries>,
    pub(super) position_type: PlaceType,
}

pub(super) const POSITIONS: usize = 500;
const BASE: f64 = 10_000.0;

impl Turned {
    /// The case that says where the rows of q lie; its other tensors say nothing.
    fn q_case(&self, rows: Rows) -> Case {
        Case { heads: self.q.unwrap().heads, rows, ..self.case }
    }

    fn rotary(&self) -> Rotary {
        let rotary = Rotary::new(self.pairing, self.dims as u32, POSITIONS as u32);
        let rotary = rotary.with_position_type(self.position_type);
        let Some(Queries { heads, from, to }) = self.q else { return rotary };
        let strides = |rows: Rows| rows.strides(self.case.tokens, heads, self.case.dims[0]).map(|s| s as u64);
        rotary.with_q_strides(strides(from), strides(to.unwrap_or(from)))
    }

    fn problem(&self) -> fastattention::append::Problem {
        let mut problem = self.case.problem().with_rotary(self.rotary());
        problem.cache.spec.num_heads = self.q.map_or(self.case.heads, |q| q.heads) as u32;
        problem
    }

    fn narrow(&self, x: f64) -> u16 {
        match self.case.dtype {
            DType::F16 => f16::from_f32(x as f32).to_bits(),
            _ => bf16::from_f32(x as f32).to_bits(),
        }
    }

    fn wide(&self, bits: u16) -> f64 {
        match self.case.dtype {
            DType::F16 => f16::from_bits(bits).to_f64(),
            _ => bf16::from_bits(bits).to_f64(),
        }
    }

    /// Normal numbers for tokens that lie so.
    fn normal(&self, case: &Case, dim: usize, rng: &mut Rng) -> Vec<u16> {
        let [token, head] = case.rows.strides(case.tokens, case.heads, dim);
        let len = case.tokens.saturating_sub(1) * token + (case.heads - 1) * head + dim;
        (0..len).map(|_| self.narrow(normal(rng).into())).collect()
    }

    /// What becomes of rows: exactly, and as plain code in f32 has it, which rounds once. NaN where the
    /// position is none. `None` for elements that stay as they are.
    fn rotate(&self, case: &Case, rows: &[u16], positions: &[i64]) -> Vec<Option<[f64; 2]>> {
        let [token_stride, head_stride] = case.rows.strides(case.tokens, case.heads, case.dims[0]);
        let mut out = vec![None; rows.len()];
        for (token, &position) in positions.iter().enumerate() {
            for (head, i) in (0..case.heads).flat_map(|head| (0..self.dims / 2).map(move |i| (head, i))) {
                let (first, second) = match self.pairing {
                    Halves => (i, i + self.dims / 2),
                    _ => (2 * i, 2 * i + 1),
                };
                let row = token * token_stride + head * head_stride;
                let [x, y] = [first, second].map(|at| self.wide(rows[row + at]));
                let angle = position as f64 * BASE.powf(-2.0 * i as f64 / self.dims as f64);
                let (sin, cos) = if (0..POSITIONS as i64).contains(&position) {
                    angle.sin_cos()
                } else {
                    (f64::NAN, f64::NAN)
                };
                let plain = |a: f64, b: f64| {
                    let sum = a as f32 * cos as f32 + b as f32 * sin as f32;
                    self.wide(self.narrow(sum.into()))
                };
                out[row + first] = Some([x * cos - y * sin, plain(x, -y)]);
                out[row + second] = Some([y * cos + x * sin, plain(y, x)]);
            }
        }
        out
    }

    /// Elements that were rotated by the 2x rule, all others bit by bit.
    fn check(&self, what: &str, got: &[u16], copies: &[u16], turned: &[Option<[f64; 2]>]) {
        let (mut values, mut exact, mut plain, mut bits) = (vec![], vec![], vec![], got.to_vec());
        for (at, turned) in turned.iter().enumerate() {
            if let Some([want, narrow]) = turned {
                values.push(self.wide(got[at]));
                exact.push(*want);
                plain.push(*narrow);
                bits[at] = copies[at];
            }
        }
        assert_same(&bits, copies, &format!("{what} of {self:?}, not rotated"));
        let shape = [1, 1, 1, exact.len()];
        check_o(&values, &exact, &plain, unit(self.case.dtype), shape)
            .unwrap_or_else(|e| panic!("{what} of {self:?}: {e}"));
    }
}

pub(super) struct Inputs {
    k: Vec<u16>,
    v: Vec<u16>,
    q: Option<Vec<u16>>,
    pub(super) places: Vec<i64>,
    pub(super) positions: Vec<i64>,
}

pub(super) fn inputs(turned: &Turned, rng: &mut Rng) -> Inputs {
    let case = &turned.case;
    let [k, v] = case.dims.map(|dim| turned.normal(case, dim, rng));
    let q = turned.q.map(|q| turned.normal(&turned.q_case(q.from), case.dims[0], rng));
    // Sequences that go on, so that some tokens follow each other and some do not.
    let mut position = 0;
    let next = |_| {
        position = if rng.u32(..4) == 0 { rng.usize(..POSITIONS) } else { (position + 1) % POSITIONS };
        position as i64
    };
    let positions = (0..case.tokens).map(next).collect();
    Inputs { k, v, q, places: case.places(rng), positions }
}

/// Launches, and compares all that is written; returns the report.
pub(super) fn launch(operator: &Append, turned: &Turned, inputs: &Inputs) -> Report {
    let case = &turned.case;
    let plan = plan(&turned.problem(), operator.device().soc()).unwrap_or_else(|e| panic!("{turned:?}: {e}"));
    let [k, v] = [&inputs.k, &inputs.v].map(|data| upload(operator, data));
    let places = upload_places(operator, case.place_type, &inputs.places);
    let positions = upload_places(operator, turned.position_type, &inputs.positions);
    let table = Rotary::table(&Rotary::frequencies(BASE, turned.dims as u32), POSITIONS as u32, 1.0);
    let table = Buffer::from_slice(operator.device(), &table).unwrap();
    let caches = old_caches(operator, case);
    let status = status_of(operator, &plan);
    let stream = Stream::new(operator.device()).unwrap();
    let q = inputs.q.as_ref().map(|q| upload(operator, q));
    let q_out = upload(operator, &vec![OLD; plan.query_bytes()[1] as usize / 2]);
    let rotary = RotaryArgs::new(&positions, &table);
    let rotary = match (turned.q, &q) {
        (Some(Queries { to: Some(_), .. }), Some(q)) => rotary.with_q(q, &q_out),
        (_, Some(q)) => rotary.with_q_in_place(q),
        _ => rotary,
    };
    let mut args = Args::new(&k, &v, &places, &caches[0], &caches[1]).with_rotary(rotary);
    args.status = status.as_ref().map(Into::into);
    // Tiling data travel with the launch, or lie in device memory.
    let memory = Buffer::alloc(operator.device(), plan.tiling_data_bytes() as usize).unwrap();
    let placed = plan.place_tiling_data(&memory).unwrap();
    let args = if case.place_type == PlaceType::I64 { args.with_tiling_data(&placed) } else { args };
    operator.launch(&stream, &plan, args).unwrap_or_else(|e| panic!("{plan}: {e}"));
    stream.synchronize().unwrap_or_else(|e| panic!("{turned:?}\n{plan}: {e}"));

    let rotated = turned.rotate(case, &inputs.k, &inputs.positions);
    let copies = filled(case, 0, &inputs.k, &inputs.places, OLD);
    let rotated = filled(case, 0, &rotated, &inputs.places, None);
    turned.check("k_cache", &caches[0].to_vec().unwrap(), &copies, &rotated);
    let copies = filled(case, 1, &inputs.v, &inputs.places, OLD);
    assert_same(&caches[1].to_vec().unwrap(), &copies, &format!("v_cache of {turned:?}"));
    if let (Some(q), Some(data)) = (&q, &inputs.q) {
        let to = turned.q.unwrap().to;
        let got = if to.is_some() { &q_out } else { q }.to_vec().unwrap();
        check_queries(turned, data, &inputs.positions, &got);
    }
    report_of(status.as_ref())
}

fn check_queries(turned: &Turned, data: &[u16], positions: &[i64], got: &[u16]) {
    let Queries { from, to, .. } = turned.q.unwrap();
    let (from, dim) = (turned.q_case(from), turned.case.dims[0]);
    let rotated = turned.rotate(&from, data, positions);
    let Some(to) = to else { return turned.check("q", got, data, &rotated) };
    let to = turned.q_case(to);
    let (mut copies, mut moved) = (vec![OLD; got.len()], vec![None; got.len()]);
    for (token, head) in (0..to.tokens).flat_map(|token| (0..to.heads).map(move |head| (token, head))) {
        let row = |case: &Case| {
            let [token_stride, head_stride] = case.rows.strides(case.tokens, case.heads, dim);
            token * token_stride + head * head_stride
        };
        let (source, target) = (row(&from), row(&to));
        copies[target..target + dim].copy_from_slice(&data[source..source + dim]);
        moved[target..target + dim].copy_from_slice(&rotated[source..source + dim]);
    }
    turned.check("q_out", got, &copies, &moved);
}

fn of(case: Case, pairing: Pairing, dims: usize, q: Option<(usize, Rows, Option<Rows>)>) -> Turned {
    let q = q.map(|(heads, from, to)| Queries { heads, from, to });
    Turned { case, pairing, dims, q, position_type: PlaceType::I32 }
}

#[test]
fn every_pairing_layout_and_type_is_a_rotation() {
    let operator = append(|_| ());
    let dense = Some(Rows::Dense);
    let case = |tokens, heads, dims, cache: Cache, rows| case_of(tokens, heads, dims, cache, rows);
    let cases = [
        // One token, one pair of blocks.
        of(case(1, 1, [16, 16], Paged { pages: 1, size: 1 }, Rows::Dense), Halves, 16, None),
        // Usual shapes with q: some tokens a tile, several tiles a core.
        of(
            case(150, 8, [128, 128], Paged { pages: 40, size: 16 }, Rows::Fused),
            Halves,
            128,
            Some((32, Rows::Fused, dense)),
        ),
        of(
            case(97, 2, [64, 64], PagedHeadsFirst { pages: 15, size: 8 }, Rows::Dense),
            Adjacent,
            64,
            Some((6, Rows::Dense, None)),
        ),
        // Parts of heads: halves that are no 64 elements, and no 16.
        of(
            case(50, 3, [80, 80], Padded { slots: 4, keys: 37 }, Rows::Gaps),
            Halves,
            80,
            Some((3, Rows::Gaps, Some(Rows::TokenGaps))),
        ),
        of(
            case(49, 4, [96, 48], PaddedHeadsFirst { slots: 3, keys: 64 }, Rows::HeadsFirst),
            Adjacent,
            48,
            None,
        ),
        of(
            case(33, 2, [256, 20], Gaps { pages: 20, size: 4 }, Rows::TokenGaps),
            Adjacent,
            160,
            Some((5, Rows::HeadsFirst, dense)),
        ),
        // Pieces of heads.
        of(
            case(90, 4, [128, 64], Nz { pages: 20, size: 16 }, Rows::Fused),
            Halves,
            96,
            Some((8, Rows::Fused, None)),
        ),
        of(case(60, 2, [64, 16], Nz { pages: 9, size: 16 }, Rows::Dense), Adjacent, 64, None),
        of(
            case(90, 8, [128, 128], Vllm { pages: 20, size: 16 }, Rows::Fused),
            Halves,
            128,
            Some((16, Rows::Fused, dense)),
        ),
        of(case(61, 3, [80, 20], Vllm { pages: 9, size: 16 }, Rows::Dense), Adjacent, 48, None),
        of(case(200, 1, [16, 1], Vllm { pages: 9, size: 32 }, Rows::Dense), Halves, 16, None),
        // One head of many elements, of which few are rotated.
        of(case(700, 1, [576, 512], Paged { pages: 90, size: 8 }, Rows::Dense), Adjacent, 64, None),
        // More tokens a tile than an instruction has repeats, and as many as fit one.
        of(case(9000, 1, [16, 1], Paged { pages: 100, size: 128 }, Rows::Dense), Halves, 16, None),
        // More heads than are rotated at once, in several parts.
        of(
            case(3, 300, [32, 32], Paged { pages: 3, size: 4 }, Rows::Dense),
            Adjacent,
            32,
            Some((300, Rows::Dense, None)),
        ),
        // Most elements.
        of(
            case(5, 2, [512, 7], PagedHeadsFirst { pages: 3, size: 4 }, Rows::Dense),
            Halves,
            512,
            Some((50, Rows::Fused, dense)),
        ),
        of(case(7, 3, [1024, 16], Gaps { pages: 3, size: 4 }, Rows::Dense), Adjacent, 512, None),
    ];
    for (number, turned) in cases.into_iter().enumerate() {
        // Both pairings of each case, with other types.
        let wide = Turned {
            case: Case { dtype: DType::Bf16, place_type: PlaceType::I64, ..turned.case },
            pairing: if turned.pairing == Halves { Adjacent } else { Halves },
            position_type: if number % 2 == 0 { PlaceType::I64 } else { PlaceType::I32 },
            ..turned
        };
        for turned in [turned, wide] {
            let inputs = inputs(&turned, &mut Rng::with_seed(number as u64));
            assert_eq!(launch(&operator, &turned, &inputs), Report::default(), "{turned:?}");
        }
    }
}

/// Outside the table nothing is read, and what such a position rotates is NaN.
#[test]
fn positions_that_the_table_does_not_have_are_told_and_make_nan() {
    let operator = append(|_| ());
    let case = case_of(150, 2, [64, 64], Paged { pages: 20, size: 16 }, Rows::Dense);
    let narrow = of(case, Halves, 32, Some((4, Rows::Dense, Some(Rows::Dense))));
    let wide = Turned { pairing: Adjacent, position_type: PlaceType::I64, ..narrow };
    for turned in [narrow, wide] {
        let mut inputs = inputs(&turned, &mut Rng::with_seed(5));
        let mut wrong = vec![POSITIONS as i64, -1, i32::MAX.into(), i32::MIN.into()];
        if turned.position_type == PlaceType::I64 {
            // Their low words are positions that the table has.
            wrong.extend([1 << 32, -(1 << 32) + 5, i64::MIN, i64::MAX]);
        }
        let tokens: Vec<usize> = (0..wrong.len()).map(|i| i * 19 + i % 2).collect();
        tokens.iter().zip(&wrong).for_each(|(token, position)| inputs.positions[*token] = *position);
        // One of these tokens has a wrong place, too.
        inputs.places[tokens[1]] = 320;
        let report = launch(&operator, &turned, &inputs);
        let mistake = |(&token, &given)| Mistake { token, number: Number::Position, given };
        let mut mistakes: Vec<Mistake> = tokens.iter().zip(&wrong).map(mistake).collect();
        mistakes.insert(1, Mistake { token: tokens[1], number: Number::Place, given: 320 });
        assert_eq!(report, Report { num_wrong: mistakes.len() as u64, mistakes });
    }
}

#[test]
fn bits_of_rotations_are_right_in_every_interleaving() {
    let case = case_of(230, 3, [80, 20], Gaps { pages: 20, size: 16 }, Rows::Fused);
    let turned = of(case, Adjacent, 48, Some((6, Rows::Dense, None)));
    for (seed, turned) in (0..6).zip([turned, Turned { pairing: Halves, ..turned }].into_iter().cycle()) {
        let operator = append(|config| {
            config.seed = Some(seed);
            config.threads = 1 + seed as usize % 3;
        });
        let mut inputs = inputs(&turned, &mut Rng::with_seed(seed));
        inputs.positions[100] = -7;
        assert_eq!(launch(&operator, &turned, &inputs).num_wrong, 1);
    }
}
