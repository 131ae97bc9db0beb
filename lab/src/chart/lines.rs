//! Lines over lengths, with bounds and published figures beside them.

use std::ops::Range;

use anyhow::{Context, Result};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::{around, Points, FONT, SIZE};

/// Width of the legend, beside the plot so that it hides no line.
const LEGEND: u32 = 300;
/// Height of a line of the legend.
const LINE: i32 = 22;
/// Letters of the legend that fit a line.
const LETTERS: usize = 38;

const GREY: RGBColor = RGBColor(110, 110, 110);

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Times, over several powers of ten.
    Logarithmic,
    /// Shares: linear, from 0 to 100.
    Percent,
}

/// A value that does not depend on the length: a dashed line.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// Has somebody published it, without a length? Then a cross marks it, as it does in [`Marks`]. Else it
    /// is a bound.
    pub(crate) is_published: bool,
}

impl Level {
    fn colour(&self) -> RGBColor {
        if self.is_published {
            BLACK
        } else {
            GREY
        }
    }
}

/// Figures that somebody has published: crosses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    /// What was measured, and by whom.
    pub(crate) label: &'static str,
    pub(crate) points: &'static [(f64, f64)],
}

/// Values by length; lengths are logarithmic.
pub(crate) struct Lines<'a> {
    pub(crate) caption: String,
    pub(crate) x_desc: &'static str,
    pub(crate) y_desc: String,
    pub(crate) axis: Axis,
    pub(crate) series: Vec<(String, Points)>,
    pub(crate) levels: &'a [Level],
    pub(crate) marks: &'a [Marks],
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Lines<'_> {
    pub(crate) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            root.fill(&WHITE)?;
            let (caption, below) = root.split_vertically(44);
            caption.draw(&Text::new(self.caption.clone(), (16, 14), (FONT, 20)))?;
            let (plot, legend) = below.split_horizontally(SIZE.0 - LEGEND);
            match self.axis {
                Axis::Logarithmic => self.plot(&plot, around(self.values()).log_scale())?,
                Axis::Percent => self.plot(&plot, 0.0..100.0)?,
            }
            self.legend(&legend)?;
            root.present().context("drawing the lines")?;
        }
        Ok(svg)
    }

    fn places(&self) -> impl Iterator<Item = (f64, f64)> + Clone + '_ {
        let lines = self.series.iter().flat_map(|(_, points)| points.iter().copied());
        lines.chain(self.marks.iter().flat_map(|marks| marks.points.iter().copied()))
    }

    fn values(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        self.places().map(|place| place.1).chain(self.levels.iter().map(|level| level.value))
    }

    /// Powers of two, with a margin.
    fn exponents(&self) -> Range<f64> {
        let exponents = || self.places().filter(|place| place.0 > 0.0).map(|place| place.0.log2());
        let (least, most) = (exponents().fold(f64::INFINITY, f64::min), exponents().fold(0.0, f64::max));
        if least > most {
            return 0.0..1.0;
        }
        least - 0.25..most + 0.25
    }

    fn plot<Y>(&self, area: &Area<'_>, y: Y) -> Result<()>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let x = self.exponents();
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x.clone(), y)?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .x_labels(16)
            .x_label_formatter(&length)
            .x_desc(self.x_desc)
            .y_desc(&self.y_desc)
            .draw()?;
        for level in self.levels {
            let ends = [(x.start, level.value), (x.end, level.value)];
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, level.colour().stroke_width(1)))?;
            let cross = level.is_published.then_some(((x.start + x.end) / 2.0, level.value));
            chart.draw_series(cross.map(|place| Cross::new(place, 5, BLACK.stroke_width(2))))?;
        }
        let at = |points: &[(f64, f64)]| -> Points { points.iter().map(|p| (p.0.log2(), p.1)).collect() };
        for (i, (_, points)) in self.series.iter().enumerate() {
            let stroke = Palette99::pick(i).to_rgba().stroke_width(2);
            chart.draw_series(LineSeries::new(at(points), stroke).point_size(3))?;
        }
        for marks in self.marks {
            chart
                .draw_series(at(marks.points).into_iter().map(|p| Cross::new(p, 5, BLACK.stroke_width(2))))?;
        }
        Ok(())
    }

    fn legend(&self, area: &Area<'_>) -> Result<()> {
        let mut y = 16;
        for (i, (label, _)) in self.series.iter().enumerate() {
            let stroke = Palette99::pick(i).to_rgba().stroke_width(2);
            area.draw(&PathElement::new([(0, y), (24, y)], stroke))?;
            y = written(area, label, y)?;
        }
        for level in self.levels {
            area.draw(&PathElement::new([(0, y), (9, y)], level.colour()))?;
            area.draw(&PathElement::new([(15, y), (24, y)], level.colour()))?;
            if level.is_published {
                area.draw(&Cross::new((12, y), 5, BLACK.stroke_width(2)))?;
            }
            y = written(area, &level.label, y)?;
        }
        for marks in self.marks {
            area.draw(&Cross::new((12, y), 5, BLACK.stroke_width(2)))?;
            y = written(area, marks.label, y)?;
        }
        Ok(())
    }
}

/// Writes an entry of the legend, in as many lines as it takes; where the next one goes.
fn written(area: &Area<'_>, label: &str, mut y: i32) -> Result<i32> {
    let mut line = String::new();
    for word in label.split(' ') {
        if !line.is_empty() && line.len() + 1 + word.len() > LETTERS {
            area.draw(&Text::new(std::mem::take(&mut line), (32, y - 6), (FONT, 14)))?;
            y += LINE - 4;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    area.draw(&Text::new(line, (32, y - 6), (FONT, 14)))?;
    Ok(y + LINE)
}

/// A power of two as people write lengths: 512, 4K, 32K. Nothing between them.
fn length(exponent: &f64) -> String {
    let whole = exponent.round();
    if (exponent - whole).abs() > 1e-6 {
        return String::new();
    }
    if whole >= 10.0 {
        format!("{:.0}K", (whole - 10.0).exp2())
    } else {
        format!("{:.0}", whole.exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn lengths_are_written_as_people_do() {
        let written = [0.0, 9.0, 10.0, 12.0, 15.0, 12.5].map(|exponent| length(&exponent));
        assert_eq!(written, ["1", "512", "1K", "4K", "32K", ""]);
    }
}
