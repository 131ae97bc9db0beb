//! Results in model time: one row a case, as a table for people and as CSV.

use std::fmt::Write as _;

use fastattention::matmul;
use fastattention::sim::time::{LaunchReport, Roofline};
use fastattention::sim::Pipe;

use crate::chip::has_own_figures;
use crate::workload::{Op, Workload};

/// Pipes whose busy share is reported: core kind, pipe and name of the column.
pub const PIPES: [(&str, Pipe, &str); 7] = [
    ("AIC", Pipe::M, "aic_m_busy_percent"),
    ("AIC", Pipe::Mte1, "aic_mte1_busy_percent"),
    ("AIC", Pipe::Mte2, "aic_mte2_busy_percent"),
    ("AIC", Pipe::Fix, "aic_fix_busy_percent"),
    ("AIV", Pipe::V, "aiv_v_busy_percent"),
    ("AIV", Pipe::Mte2, "aiv_mte2_busy_percent"),
    ("AIV", Pipe::Mte3, "aiv_mte3_busy_percent"),
];

/// One case. Times are model time.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was run.
    pub workload: Workload,
    /// Of the slowest core, from its start to its last result; all launches of the operator together.
    pub core_us: f64,
    /// Of the tasks: from the start of the first core to the last result, and what a launch takes outside of
    /// the cores.
    pub task_us: f64,
    /// Operations that the result needs over `core_us`.
    pub tflops: f64,
    /// In the order of [`PIPES`].
    pub busy_percent: [f64; 7],
    l2_hit_percent: Option<f64>,
    gm_bytes: u64,
    hbm_bytes: u64,
    /// Kernel and `core_us` of each launch.
    pub launches: Vec<(String, f64)>,
    /// One for each launch.
    pub rooflines: Vec<Roofline>,
}

impl Row {
    /// `reports`: one for each launch of the operator.
    pub fn new(workload: Workload, reports: &[LaunchReport]) -> Self {
        // The standard library's sum of nothing is -0.0, which is printed with its sign.
        let sum = |of: fn(&LaunchReport) -> f64| reports.iter().map(of).fold(0.0, |sum, us| sum + us);
        let core_us = sum(LaunchReport::core_us);
        let over = |value: f64| if core_us > 0.0 { value / core_us } else { 0.0 };
        let sectors: u64 = reports.iter().map(|r| r.traffic.read_sectors).sum();
        let missed: u64 = reports.iter().map(|r| r.traffic.missed_sectors).sum();
        Self {
            workload,
            core_us,
            task_us: sum(LaunchReport::task_us),
            tflops: over(workload.flops()) / 1e6,
            busy_percent: PIPES.map(|(kind, pipe, _)| {
                100.0 * over(reports.iter().map(|r| busy_us(r, kind, pipe)).sum::<f64>())
            }),
            l2_hit_percent: (sectors > 0).then(|| 100.0 - 100.0 * missed as f64 / sectors as f64),
            gm_bytes: reports.iter().map(LaunchReport::gm_bytes).sum(),
            hbm_bytes: reports.iter().map(LaunchReport::hbm_bytes).sum(),
            launches: reports.iter().map(|r| (r.kernel.clone(), r.core_us())).collect(),
            rooflines: reports.iter().map(LaunchReport::roofline).collect(),
        }
    }

    /// What was run, and on what. Sizes of attention are empty for a product with sizes or options of its
    /// own, and those of a product for other operators.
    pub fn case(&self) -> Vec<(&'static str, String)> {
        let Workload { op, problem, soc, tiling, sample_rows, is_warm, product, parts } = &self.workload;
        let spec = &problem.spec;
        let figures = if has_own_figures(soc) { "changed" } else { "cann.toml" };
        let of_attention = |value: String| if product.is_some() { String::new() } else { value };
        let linear = match op {
            Op::Matmul => self.workload.linear().ok(),
            _ => None,
        };
        let of_product =
            |value: fn(&matmul::Problem) -> String| linear.as_ref().map_or_else(String::new, value);
        let keys = if problem.shift_keys { "shifted" } else { "as given" };
        vec![
            ("op", op.to_string()),
            ("soc", soc.name.clone()),
            ("figures", figures.to_owned()),
            ("clock_mhz", soc.clock_mhz.to_string()),
            ("cores", soc.cube_cores.to_string()),
            ("dtype", spec.dtype.to_string()),
            ("dtype_out", of_product(|c| c.dtype_out.to_string())),
            ("score_dtype", of_attention(spec.score_dtype.to_string())),
            ("keys", of_attention(keys.to_owned())),
            ("layout", of_attention(problem.layout.to_string())),
            ("b_layout", of_product(|c| c.b_layout.to_string())),
            ("tiling", tiling.map_or_else(|| "planned".to_owned(), |tiling| tiling.to_string())),
            ("rows_run", sample_rows.map_or_else(|| "all".to_owned(), |rows| rows.to_string())),
            ("mask", of_attention(spec.mask.to_string())),
            ("l2", if *is_warm { "warm" } else { "cold" }.to_owned()),
            ("batch", problem.batch.to_string()),
            ("parts", parts.map_or_else(String::new, |parts| parts.to_string())),
            ("m", of_product(|c| c.m.to_string())),
            ("n", of_product(|c| c.n.to_string())),
            ("k", of_product(|c| c.k.to_string())),
            ("num_heads", of_attention(spec.num_heads.to_string())),
            ("num_heads_k", of_attention(spec.num_heads_k.to_string())),
            ("head_dim", of_attention(spec.head_dim.to_string())),
            ("head_dim_v", of_attention(spec.head_dim_v.to_string())),
            ("seqlen_k", of_attention(problem.seqlen_k.to_string())),
            ("seqlen_q", of_attention(problem.seqlen_q.to_string())),
        ]
    }

    /// `tflops` in % of what all Cubes can do.
    pub fn peak_percent(&self) -> f64 {
        let peak = self.rooflines.first().map_or(f64::INFINITY, |r| r.peak_tflops);
        100.0 * self.tflops / peak
    }

    /// What was found.
    fn results(&self) -> Vec<(&'static str, String)> {
        let mut results = vec![
            ("model_core_us", format!("{:.2}", self.core_us)),
            ("model_task_us", format!("{:.2}", self.task_us)),
            ("tflops", format!("{:.1}", self.tflops)),
            ("cube_peak_percent", format!("{:.1}", self.peak_percent())),
        ];
        let busy = PIPES.iter().zip(self.busy_percent);
        results.extend(busy.map(|((_, _, name), share)| (*name, format!("{share:.1}"))));
        let hits = self.l2_hit_percent.map_or_else(String::new, |rate| format!("{rate:.1}"));
        results.push(("l2_hit_percent", hits));
        results.push(("gm_bytes", self.gm_bytes.to_string()));
        results.push(("hbm_bytes", self.hbm_bytes.to_string()));
        results
    }
}

/// Mean busy time of a pipe over the cores of a kind, in microseconds.
fn busy_us(report: &LaunchReport, kind: &str, pipe: Pipe) -> f64 {
    let busy: Vec<f64> =
        report.cores.iter().filter(|c| c.kind() == kind).map(|c| c.pipes[pipe as usize].busy).collect();
    busy.iter().fold(0.0, |sum, cycles| sum + cycles)
        / (busy.len().max(1) as f64)
        / f64::from(report.soc.clock_mhz)
}

/// What every row has in common, and the parts of the case in which the rows differ, seqlen_q among them.
/// Lengths of k that are those of q are told once, not in every row. What no row has is not told.
pub fn split_case(rows: &[Row]) -> (String, Vec<Vec<(&'static str, String)>>) {
    let cases: Vec<_> = rows.iter().map(Row::case).collect();
    let is_self = |row: &Row| row.workload.problem.seqlen_k == row.workload.problem.seqlen_q;
    let has_own_k = !rows.iter().all(is_self);
    let is_empty = |at: usize| cases.iter().all(|case| case[at].1.is_empty());
    let varies = |name: &str, at: usize| match name {
        _ if is_empty(at) => false,
        "seqlen_q" => true,
        "seqlen_k" => has_own_k,
        _ => cases.iter().any(|case| case[at] != cases[0][at]),
    };
    let mut common = Vec::new();
    for (at, (name, value)) in cases.first().into_iter().flatten().enumerate() {
        if !varies(name, at) && !is_empty(at) {
            common.push(format!("{name} {}", if *name == "seqlen_k" { "as seqlen_q" } else { value }));
        }
    }
    let varying = cases.iter().map(|case| {
        let parts = case.iter().enumerate().filter(|(at, (name, _))| varies(name, *at));
        parts.map(|(_, part)| part.clone()).collect()
    });
    (common.join(", "), varying.collect())
}

/// Header and cells of the table, and what is the same in every row.
fn cells(rows: &[Row]) -> (String, Vec<Vec<String>>) {
    let (common, cases) = split_case(rows);
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (case, row) in cases.into_iter().zip(rows) {
        let columns: Vec<_> = case.into_iter().chain(row.results()).collect();
        if lines.is_empty() {
            lines.push(columns.iter().map(|(name, _)| short(name)).collect());
        }
        lines.push(columns.into_iter().map(|(_, value)| value).collect());
    }
    (common, lines)
}

/// Column names as the table prints them.
fn short(name: &str) -> String {
    name.replace("_busy_percent", " %").replace("_percent", " %").replace("model_", "").replace('_', " ")
}

/// A table with aligned columns.
pub fn text(rows: &[Row]) -> String {
    let (common, lines) = cells(rows);
    let columns = lines.first().map_or(0, Vec::len);
    let width = |at: usize| lines.iter().map(|l| l[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = format!("model time, not measured; {common}\n");
    for line in &lines {
        let padded: Vec<_> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", padded.join("  "));
    }
    text
}

/// Every column of every row, as CSV.
pub fn csv<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut text = String::new();
    for (i, row) in rows.into_iter().enumerate() {
        let (names, values): (Vec<_>, Vec<_>) = row.case().into_iter().chain(row.results()).unzip();
        if i == 0 {
            text += &csv_line(names);
        }
        text += &csv_line(values);
    }
    text
}

/// A line of CSV (RFC 4180): fields with a comma, a quote or a line break stand in quotes, in which quotes
/// are doubled.
pub fn csv_line(fields: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let field = |field: &str| match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    };
    let fields: Vec<String> = fields.into_iter().map(|text| field(text.as_ref())).collect();
    fields.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::csv_line;

    #[test]
    fn fields_are_read_as_they_were_written() {
        assert_eq!(csv_line(["a", "", "1.5"]), "a,,1.5\n");
        let fields = ["window(left 3, right 0)", "say \"no\"", "two\nlines", " plain ", "\""];
        let line = csv_line(fields);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        let records: Vec<_> = reader.records().flatten().collect();
        assert_eq!(records, [fields.to_vec()]);
    }
}
