//! Line charts over message sizes.

use std::ops::Range;

use maud::{Markup, PreEscaped};
use plotters::{
    chart::ChartBuilder,
    coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
    prelude::{
        Circle, Color, DashedLineSeries, IntoDrawingArea, LineSeries, RGBColor, SVGBackend,
        ShapeStyle, TextStyle,
    },
};

use crate::{
    report::{Metric, Transport, Unit},
    units,
};

/// One line: a transport's figures by message size.
pub(super) struct Line {
    pub(super) transport: Transport,
    pub(super) dashed: bool,
    pub(super) points: Vec<(u64, f64)>,
}

/// How an axis runs. The horizontal one, of message sizes, is always logarithmic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Linear,
    Logarithmic,
}

/// Narrow enough that a telephone shows the text in a readable size.
const SIZE: (u32, u32) = (520, 320);

/// These colours appear nowhere: the page's style sheet replaces them by those of the reader's
/// colour scheme.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);

const fn colour(transport: Transport) -> RGBColor {
    match transport {
        Transport::Elastane => RGBColor(3, 3, 1),
        Transport::Tcp => RGBColor(3, 3, 2),
        Transport::TcpDefault => RGBColor(3, 3, 3),
        Transport::Tcp4 => RGBColor(3, 3, 4),
        Transport::UdpRaw => RGBColor(3, 3, 5),
        Transport::Libfabric => RGBColor(3, 3, 6),
    }
}

/// Draws the lines. `title` is for those who cannot see them.
pub(super) fn lines(lines: &[Line], axis: Axis, metric: Metric, title: &str) -> Markup {
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
    let unit = metric.unit();
    let vertical = Marked {
        axis,
        range: match axis {
            Axis::Linear => 0.0..round_marks(most, unit).0,
            Axis::Logarithmic => least * 0.8..most * 1.25,
        },
        marks: match axis {
            Axis::Linear => round_marks(most, unit).1,
            Axis::Logarithmic => decades(least * 0.8, most * 1.25),
        },
        label: Box::new(move |value| units::mark(value, unit)),
    };
    let mut svg = String::new();
    let drawn = draw(&mut svg, lines, vertical);
    drawn.expect("drawing into a string does not fail");
    let fixed = format!("<svg width=\"{}\" height=\"{}\"", SIZE.0, SIZE.1);
    let fluid = format!("<svg role=\"img\" aria-label=\"{title}\"");
    PreEscaped(svg.replacen(&fixed, &fluid, 1))
}

fn draw<'a>(
    svg: &'a mut String,
    lines: &[Line],
    vertical: Marked,
) -> Result<(), Box<dyn std::error::Error + 'a>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(10)
        .margin_right(26)
        .x_label_area_size(30)
        .y_label_area_size(76)
        .build_cartesian_2d(message_sizes(lines), vertical)?;
    chart
        .configure_mesh()
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(GRID.mix(0.0))
        .label_style(TextStyle::from(("sans-serif", 14)).color(&INK))
        .draw()?;
    for line in lines {
        let colour = colour(line.transport);
        let points = || line.points.iter().map(|&(bytes, value)| (as_f64(bytes), value));
        let stroke = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 2 };
        if line.dashed {
            chart.draw_series(DashedLineSeries::new(points(), 5, 4, stroke))?;
        } else {
            chart.draw_series(LineSeries::new(points(), stroke))?;
            chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
        }
    }
    area.present()?;
    drop(chart);
    drop(area);
    Ok(())
}

/// An axis with marks where they are wanted.
struct Marked {
    axis: Axis,
    range: Range<f64>,
    marks: Vec<f64>,
    label: Box<dyn Fn(f64) -> String>,
}

impl Ranged for Marked {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "a pixel within the picture")]
    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let scaled = |value: f64| match self.axis {
            Axis::Linear => value,
            Axis::Logarithmic => value.max(f64::MIN_POSITIVE).ln(),
        };
        let Range { start, end } = self.range;
        let part = (scaled(*value) - scaled(start)) / (scaled(end) - scaled(start));
        from + (f64::from(to - from) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.marks.iter().copied().take(hint.max_num_points()).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Marked {
    fn format_ext(&self, value: &f64) -> String {
        (self.label)(*value)
    }
}

/// The horizontal axis.
fn message_sizes(lines: &[Line]) -> Marked {
    let sizes = || lines.iter().flat_map(|line| line.points.iter().map(|(bytes, _)| *bytes));
    let first = sizes().min().unwrap_or(1).max(1);
    let last = sizes().max().unwrap_or(1).max(2 * first);
    let every = if last / first > 256 { 16 } else { 4 };
    let marks = std::iter::successors(Some(first), |mark| mark.checked_mul(every))
        .take_while(|mark| *mark <= last)
        .map(as_f64)
        .collect();
    Marked {
        axis: Axis::Logarithmic,
        range: as_f64(first)..as_f64(last),
        marks,
        label: Box::new(|bytes| units::size(bytes_of(bytes))),
    }
}

#[expect(clippy::cast_precision_loss, reason = "message sizes are far below 2^53")]
const fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mark of the horizontal axis, which was a size"
)]
const fn bytes_of(mark: f64) -> u64 {
    mark as u64
}

/// Powers of ten within.
fn decades(least: f64, most: f64) -> Vec<f64> {
    std::iter::successors(Some(10_f64.powf(least.log10().ceil())), |mark| Some(mark * 10.0))
        .take_while(|mark| *mark <= most)
        .collect()
}

/// A round upper end above `most`, and round marks up to it. Bandwidth is round in bits.
fn round_marks(most: f64, unit: Unit) -> (f64, Vec<f64>) {
    let shown = if unit == Unit::BytesPerSecond { 8.0 } else { 1.0 };
    let rough = most * shown / 4.0;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * magnitude) / shown;
    let marks: Vec<_> = std::iter::successors(Some(0.0), |mark| Some(mark + step))
        .take_while(|mark| *mark < most + step)
        .collect();
    (marks.last().copied().unwrap_or(most), marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_in_the_unit_shown() {
        let (top, marks) = round_marks(6.5e9, Unit::BytesPerSecond);
        assert_eq!(marks, [0.0, 2.5e9, 5e9, 7.5e9], "0, 20, 40 and 60 Gb/s");
        assert!((top - 7.5e9).abs() < 1.0);
        let decades = decades(3e-6, 2e-3);
        let expected = [1e-5, 1e-4, 1e-3];
        assert!(decades.iter().zip(expected).all(|(mark, ten)| (mark / ten - 1.0).abs() < 1e-9));
        assert_eq!(decades.len(), expected.len());
    }

    #[test]
    fn axis_maps_its_range_to_all_pixels() {
        let axis = |axis| Marked {
            axis,
            range: 1.0..100.0,
            marks: Vec::new(),
            label: Box::new(|value| value.to_string()),
        };
        let pixels = (300, 0);
        assert_eq!(axis(Axis::Logarithmic).map(&10.0, pixels), 150);
        assert_eq!(axis(Axis::Linear).map(&50.5, pixels), 150);
        assert_eq!(axis(Axis::Linear).map(&100.0, pixels), 0);
    }

    #[test]
    fn chart_has_a_line_for_every_transport() {
        let line =
            |transport| Line { transport, dashed: false, points: vec![(1, 1e6), (1 << 20, 1e9)] };
        let all = [line(Transport::Elastane), line(Transport::Tcp)];
        let svg = lines(&all, Axis::Linear, Metric::Bandwidth, "a title").into_string();
        for colour in ["#030301", "#030302"] {
            assert!(svg.contains(colour), "no line of {colour} in {svg}");
        }
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"a title\" viewBox="), "{svg}");
        assert!(svg.contains("1 B") && svg.contains("1 MiB") && svg.contains("Gb/s"));
    }
}
