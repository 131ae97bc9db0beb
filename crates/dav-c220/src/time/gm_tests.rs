//! The rules of memory, one by one.

use super::*;

fn soc() -> &'static Soc {
    Soc::by_name("Ascend910B1").unwrap()
}

/// To UB of an AIV.
fn to_ub() -> GmWay {
    let gm = &soc().timing.gm;
    GmWay {
        path: gm.to_ub,
        write: false,
        unaligned: None,
        hbm_bytes_per_cycle: gm.hbm_bytes_per_cycle,
        is_past_l2: false,
    }
}

/// To L1 of an AIC, with the layout change.
fn to_l1_nd2nz() -> GmWay {
    let gm = &soc().timing.gm;
    GmWay {
        path: gm.to_l1_nd2nz,
        unaligned: Some(gm.unaligned_nd2nz_bytes_per_cycle),
        hbm_bytes_per_cycle: gm.aic_hbm_bytes_per_cycle,
        ..to_ub()
    }
}

fn from_ub() -> GmWay {
    GmWay { path: soc().timing.gm.from_ub, write: true, ..to_ub() }
}

/// A launch in which cores transfer rows, all from time 0.
struct Launch(SharedGm);

impl Launch {
    fn new(soc: &Soc) -> Self {
        Self(SharedGm::new(soc).unwrap())
    }

    /// The next launch: time starts again, L2 keeps what it holds.
    fn next(&mut self) {
        self.0.start_launch();
    }

    /// Cycles of core `core` of AI core `core` for `count` rows of `len` bytes, `stride` bytes apart.
    fn rows(&mut self, core: usize, way: GmWay, at: u64, [len, stride, count]: [u64; 3]) -> f64 {
        let pieces = [Piece { at, len, stride: stride.cast_signed(), count }];
        let transfer = GmTransfer { way, pieces: &pieces, core, ai_core: core };
        self.0.transfer(&mut Window::new(&soc().timing), 0.0, &transfer).complete
    }

    /// The same for `count` lines that follow each other.
    fn lines(&mut self, core: usize, way: GmWay, at: u64, count: u64) -> f64 {
        self.rows(core, way, at, [LINE, LINE, count])
    }
}

/// Cycles of one core of a chip where nothing else runs, and the same again with L2 warm.
fn cold_and_warm(way: GmWay, at: u64, rows: [u64; 3]) -> [f64; 2] {
    let mut launch = Launch::new(soc());
    let cold = launch.rows(0, way, at, rows);
    launch.next();
    [cold, launch.rows(0, way, at, rows)]
}

const MB: u64 = 1 << 20;

#[test]
fn lines_that_l2_holds_come_at_the_rate_of_the_path() {
    let mut launch = Launch::new(soc());
    let cold = launch.lines(0, to_ub(), MB, 128);
    assert_eq!(launch.0.traffic.missed_sectors, 512);
    // 64 KiB at 128 bytes a cycle, and the latency.
    let path = soc().timing.gm.to_ub;
    let alone = 65536.0 / path.bytes_per_cycle + path.latency as f64;
    launch.next();
    let warm = launch.lines(0, to_ub(), MB, 128);
    assert_eq!(launch.0.traffic.missed_sectors, 0);
    assert!((alone..1.05 * alone).contains(&warm), "{warm} instead of {alone}");
    let from_hbm = 65536.0 / soc().timing.gm.hbm_bytes_per_cycle;
    assert!(cold > from_hbm, "{cold} with {from_hbm} for the lone core's share of HBM");
}

#[test]
fn a_miss_that_ends_within_a_sector_costs_a_line_and_one_of_whole_sectors_does_not() {
    let [ragged, sector, line] = [100, 128, 512].map(|len| cold_and_warm(to_ub(), MB, [len, 512, 64])[0]);
    assert!(ragged > 0.9 * line, "{ragged} for 100 bytes, {line} for 512");
    assert!(sector < 0.6 * line, "{sector} for 128 bytes, {line} for 512");
}

#[test]
fn a_lone_aic_gets_twice_as_much_from_hbm_as_a_lone_aiv() {
    let to_l1 = GmWay { path: soc().timing.gm.to_l1, unaligned: None, ..to_l1_nd2nz() };
    let [aic, aiv] = [to_l1, to_ub()].map(|way| cold_and_warm(way, MB, [LINE, LINE, 2048])[0]);
    assert!((1.9..2.1).contains(&(aiv / aic)), "{aiv} and {aic}");
}

#[test]
fn unaligned_rows_are_slow_in_the_layout_change_wherever_they_lie() {
    let cycles = |way, shift| cold_and_warm(way, MB + shift, [512, 8192, 512])[1];
    let nd2nz = to_l1_nd2nz();
    // 16 blocks of 32 bytes, one a cycle, and a second request, instead of 512 bytes at 110 a cycle.
    let slower = cycles(nd2nz, 2) / cycles(nd2nz, 0);
    assert!((3.4..4.2).contains(&slower), "{slower} times");
}

#[test]
fn the_layout_change_reads_a_row_in_requests_of_one_size() {
    let requests = |at, len| {
        let mut launch = Launch::new(soc());
        launch.rows(0, to_l1_nd2nz(), at, [len, 8192, 1]);
        launch.0.traffic.requests
    };
    assert_eq!(requests(MB, 1024), 2);
    assert_eq!(requests(MB + 256, 512), 2);
    assert_eq!([requests(MB, 640), requests(MB + 128, 512)], [5, 4], "in units of 128 bytes");
}

/// The slowest of `cores` that read `lines` lines each, from L2; core i from line `first` of i on.
fn together(soc: &Soc, cores: &[usize], lines: u64, first: impl Fn(usize) -> u64) -> f64 {
    let mut launch = Launch::new(soc);
    for &core in cores {
        launch.lines(core, to_ub(), MB + first(core) * LINE, lines);
    }
    launch.next();
    let cycles = cores.iter().map(|core| launch.lines(*core, to_ub(), MB + first(*core) * LINE, lines));
    cycles.fold(0.0, f64::max)
}

#[test]
fn ai_cores_with_the_same_port_share_its_rate() {
    let mut soc = soc().clone();
    // As many bytes a cycle as the way to UB takes.
    let port = soc.timing.gm.to_ub.bytes_per_cycle * f64::from(soc.clock_mhz) / 1000.0;
    soc.timing.memory.l2_read_gbps = port * soc.timing.memory.l2_ports as f64;
    let own = |core: usize| core as u64 * 4096;
    let other = soc.timing.memory.l2_ports;
    let [alone, apart, shared] =
        [&[0][..], &[0, 1], &[0, other]].map(|cores| together(&soc, cores, 4096, own));
    assert!(apart < 1.05 * alone, "{apart} with another port, {alone} alone");
    assert!((1.9..2.1).contains(&(shared / alone)), "{shared} with the same port, {alone} alone");
}

#[test]
fn cores_that_read_the_same_lines_at_the_same_time_are_slower() {
    let mut soc = soc().clone();
    let port = soc.timing.gm.to_ub.bytes_per_cycle * f64::from(soc.clock_mhz) / 1000.0;
    soc.timing.memory.l2_read_gbps = port * soc.timing.memory.l2_ports as f64;
    // Fewer than it takes the slower core to fall behind by `same_line_cycles`: then they meet no more.
    let lines = 256;
    let same = together(&soc, &[0, 1], lines, |_| 0);
    let own = together(&soc, &[0, 1], lines, |core| core as u64 * lines);
    let cost = soc.timing.l2.same_line_cost;
    // The latency is the same.
    assert!((0.85 * cost..cost).contains(&(same / own)), "{same} for the same, {own} for others");
}

#[test]
fn a_written_line_that_a_read_drives_out_costs_hbm_more_than_the_read() {
    let mut soc = soc().clone();
    soc.l2_bytes = MB;
    // Slow enough that one core feels it.
    (soc.timing.memory.hbm_gbps, soc.timing.memory.hbm_fill_gbps) = (20.0, 20.0);
    let lines = MB / LINE;
    let read = |launch: &mut Launch| {
        launch.next();
        launch.lines(0, to_ub(), 16 * MB, lines)
    };
    let mut launch = Launch::new(&soc);
    let clean = read(&mut launch);
    let mut launch = Launch::new(&soc);
    launch.lines(0, from_ub(), MB, 2 * lines);
    let dirty = read(&mut launch);
    let rules = soc.timing.hbm;
    let wanted = 1.0 + rules.write_cost + rules.turn_cost;
    assert!((0.9 * wanted..1.05 * wanted).contains(&(dirty / clean)), "{dirty} instead of {clean}");
}

#[test]
fn writes_wait_for_hbm_only_when_many_lines_do() {
    let mut soc = soc().clone();
    soc.l2_bytes = MB;
    (soc.timing.memory.hbm_gbps, soc.timing.memory.hbm_fill_gbps) = (20.0, 20.0);
    let lines = MB / LINE;
    let mut launch = Launch::new(&soc);
    launch.lines(0, from_ub(), MB, lines);
    let mut write = |count| {
        launch.next();
        launch.lines(0, from_ub(), 16 * MB, count)
    };
    let alone = |count: u64| (count * LINE) as f64 / soc.timing.gm.from_ub.bytes_per_cycle;
    let few = write(lines / 4);
    assert!(few < 1.1 * alone(lines / 4) + 200.0, "{few}");
    let many = write(16 * lines);
    let hbm = (16 * MB) as f64 * soc.timing.hbm.write_cost / 20.0 * f64::from(soc.clock_mhz) / 1000.0;
    assert!((0.85 * hbm..1.02 * hbm).contains(&many), "{many} instead of {hbm}");
}

#[test]
fn reads_past_l2_leave_nothing_there_and_cost_at_least_a_request() {
    let past = GmWay { is_past_l2: true, ..to_ub() };
    let mut launch = Launch::new(soc());
    let first = launch.lines(0, past, MB, 128);
    assert_eq!(launch.0.traffic.hbm_read_bytes, 65536);
    launch.next();
    assert_eq!(launch.lines(0, past, MB, 128), first, "the second time is like the first");
    launch.next();
    launch.lines(0, to_ub(), MB, 128);
    assert_eq!(launch.0.traffic.missed_sectors, 512, "L2 has none of it");
    let mut soc = soc().clone();
    (soc.timing.memory.hbm_gbps, soc.timing.memory.hbm_fill_gbps) = (20.0, 20.0);
    let [short, line] = [128, 512].map(|len| Launch::new(&soc).rows(0, past, MB, [len, 8192, 1024]));
    let wanted = soc.timing.hbm.past_l2_bytes / 512.0;
    assert!((0.9 * wanted..1.1 * wanted).contains(&(short / line)), "{short} for 128 bytes, {line} for 512");
}
