//! Charts: lines over numbers, and bars, as SVG. The same numbers make the same bytes.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Told apart also by those who see few colours (Okabe and Ito, 2008).
const COLORS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// A chart of lines.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the numbers below are, with their unit.
    pub(crate) below: &'static str,
    /// What the numbers on the left are, with their unit.
    pub(crate) left: &'static str,
    pub(crate) lines: Vec<Line>,
    /// A height that is to be told apart, and its name.
    pub(crate) mark: Option<(f64, &'static str)>,
}

/// A line through points.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart {
    /// The file.
    pub(crate) fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
        let (steps_x, steps_y) = (
            steps(most(|point| point.0)),
            steps(most(|point| point.1).max(self.mark.map_or(0.0, |mark| mark.0))),
        );
        let (end_x, end_y) = (last(&steps_x), last(&steps_y));
        let x = |value: f64| LEFT + value / end_x * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / end_y * (HEIGHT - TOP - BOTTOM);

        let mut out = Svg::new(HEIGHT);
        out.text((LEFT, 22.0), "start", "font-weight=\"bold\"", &self.title);
        for step in &steps_x {
            out.line((x(*step), y(0.0)), (x(*step), y(0.0) + 4.0), "stroke=\"#888\"");
            out.text((x(*step), y(0.0) + 18.0), "middle", "", &number(*step));
        }
        for step in &steps_y {
            out.line((LEFT, y(*step)), (WIDTH - RIGHT, y(*step)), "stroke=\"#ddd\"");
            out.text((LEFT - 6.0, y(*step) + 4.0), "end", "", &number(*step));
        }
        out.text((x(end_x / 2.0), HEIGHT - 12.0), "middle", "", self.below);
        out.text((LEFT - 6.0, TOP - 8.0), "start", "fill=\"#555\"", self.left);
        if let Some((height, name)) = self.mark {
            let dashes = "stroke=\"#555\" stroke-dasharray=\"5 4\"";
            out.line((LEFT, y(height)), (WIDTH - RIGHT, y(height)), dashes);
            out.text((WIDTH - RIGHT + 8.0, y(height) + 4.0), "start", "fill=\"#555\"", name);
        }
        for (place, line) in self.lines.iter().enumerate() {
            let color = COLORS[place % COLORS.len()];
            let points = line.points.iter().map(|point| (x(point.0), y(point.1)));
            out.path(points.collect(), color);
            let row = TOP + 10.0 + place as f64 * 18.0;
            let begin = WIDTH - RIGHT + 10.0;
            out.line((begin, row - 4.0), (begin + 18.0, row - 4.0), &stroke(color));
            out.text((begin + 24.0, row), "start", "", &line.name);
        }
        out.end()
    }
}

/// A chart of bars that lie, each with its name.
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) bars: Vec<(String, f64)>,
    /// A length that is to be told apart, and its name.
    pub(crate) mark: (f64, &'static str),
}

impl Bars {
    /// The file.
    pub(crate) fn to_svg(&self) -> String {
        const ROW: f64 = 24.0;
        const NAMES: f64 = 230.0;
        let height = TOP + ROW * self.bars.len() as f64 + 28.0;
        let longest = self.bars.iter().map(|bar| bar.1).fold(self.mark.0, f64::max);
        let x = |value: f64| NAMES + value / longest * (WIDTH - NAMES - 60.0);
        let mut out = Svg::new(height);
        out.text((16.0, 22.0), "start", "font-weight=\"bold\"", &self.title);
        for (row, (name, value)) in self.bars.iter().enumerate() {
            let y = TOP + row as f64 * ROW;
            out.text((NAMES - 8.0, y + 14.0), "end", "", name);
            let (width, color) = (x(*value) - NAMES, COLORS[0]);
            out.put(format_args!(
                "<rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" fill=\"{color}\"/>\n"
            ));
            out.text((x(*value) + 6.0, y + 14.0), "start", "", &format!("{value:.2}"));
        }
        let (at, bottom) = (x(self.mark.0), height - 24.0);
        out.line((at, TOP - 6.0), (at, bottom), "stroke=\"#555\" stroke-dasharray=\"5 4\"");
        let label = format!("{} {}", self.mark.1, number(self.mark.0));
        out.text((at, height - 8.0), "middle", "fill=\"#555\"", &label);
        out.end()
    }
}

struct Svg(String);

impl Svg {
    fn new(height: f64) -> Self {
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
        ))
    }

    // Writing to a string cannot fail.
    fn put(&mut self, arguments: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(arguments);
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, more: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>\n"
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {stroke}/>\n"
        ));
    }

    fn path(&mut self, points: Vec<(f64, f64)>, color: &str) {
        let text: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (text, stroke) = (text.join(" "), stroke(color));
        self.put(format_args!("<polyline points=\"{text}\" fill=\"none\" {stroke}/>\n"));
        for (x, y) in points {
            self.put(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>\n"
            ));
        }
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

fn stroke(color: &str) -> String {
    format!("stroke=\"{color}\" stroke-width=\"2\"")
}

/// From 0 in even steps of 1, 2 or 5 times a power of ten, at most eight, to at least `most`.
fn steps(most: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let power = 10f64.powf((most / 8.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| most / step <= 8.0).unwrap_or(most);
    (0..=(most / step).ceil() as usize).map(|count| count as f64 * step).collect()
}

fn last(steps: &[f64]) -> f64 {
    steps.last().copied().unwrap_or(1.0)
}

/// Without digits that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_reach_the_end() {
        for (most, expected) in [(8.0, 8.0), (400.0, 400.0), (0.93, 1.0), (30_000.0, 30_000.0)] {
            let steps = steps(most);
            assert_eq!(number(last(&steps)), number(expected), "{steps:?}");
            assert!(steps.len() <= 9);
        }
        assert_eq!(last(&steps(0.0)), 1.0);
    }

    #[test]
    fn a_chart_shows_its_lines_and_is_the_same_each_time() {
        let chart = Chart {
            title: "cost & crowd".into(),
            below: "people",
            left: "ms",
            lines: vec![Line { name: "TCP".into(), points: vec![(0.0, 0.0), (100.0, 50.0)] }],
            mark: Some((25.0, "limit")),
        };
        let svg = chart.to_svg();
        assert!(svg.contains("cost &amp; crowd") && svg.contains("TCP") && svg.contains("limit"));
        assert!(svg.contains("points=\"64.0,328.0 570.0,44.0\""), "{svg}");
        assert_eq!(svg, chart.to_svg());
    }
}
