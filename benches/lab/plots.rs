//! A run as pictures (SVG): processor time by case and contender, latency by percentile.

use crate::latency::Latency;
use crate::results::{CaseResult, Run, median, part, ratio};
use crate::table::short;
use std::fmt::Write as _;

/// Of each contender, by its place: told apart by those who see no red or no green, too.
const COLOURS: [&str; 9] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#666666", "#aaaaaa", "#56b4e9",
    "#000000",
];

const WIDTH: f64 = 860.0;

/// A picture that is drawn.
struct Svg(String);

impl Svg {
    fn new(height: f64, title: &str) -> Svg {
        let mut svg = Svg(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
        ));
        svg.text(16.0, 22.0, "start", 15, "#000", title);
        svg
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
        let _ = writeln!(
            self.0,
            "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{colour}\"/>"
        );
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: u32, colour: &str, text: &str) {
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{colour}\">{text}</text>"
        );
    }

    fn dot(&mut self, x: f64, y: f64, colour: &str, told: &str) {
        let _ = writeln!(
            self.0,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\" fill-opacity=\"0.85\"><title>{told}</title></circle>"
        );
    }

    fn curve(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            self.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
    }

    /// The contenders in their colours, in a row.
    fn legend(&mut self, run: &Run, y: f64) {
        let mut x = 22.0;
        for (number, name) in run.names().enumerate() {
            self.dot(x, y - 4.0, COLOURS[number % COLOURS.len()], name);
            self.text(x + 10.0, y, "start", 12, "#000", name);
            x += 40.0 + 7.5 * name.len() as f64;
        }
    }

    fn foot(&mut self, run: &Run, y: f64) {
        let about = &run.about;
        let foot = format!(
            "{}, {}, {} cores. {}. Medians of {} rounds of {} s.",
            about.date, about.machine, about.cores, about.command, about.rounds, about.seconds
        );
        self.text(16.0, y, "start", 11, "#555", &foot);
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// The colour of a contender.
fn colour(run: &Run, name: &str) -> &'static str {
    let place = run.names().position(|one| one == name);
    COLOURS[place.unwrap_or(0) % COLOURS.len()]
}

/// A row for each case; in it a dot for each contender, at the ratio of its processor time to that of the first.
pub fn cpu(run: &Run) -> String {
    const ROW: f64 = 30.0;
    const TOP: f64 = 84.0;
    const LEFT: f64 = 250.0;
    let rows = run.cases.len() as f64;
    let height = TOP + rows * ROW + 60.0;
    let first = run.first();
    let mut svg = Svg::new(
        height,
        &format!("Processor time of a request, as a multiple of {first}'s"),
    );
    svg.legend(run, 46.0);
    let ratios: Vec<Vec<(&str, f64)>> = run.cases.iter().map(ratios).collect();
    let all = ratios.iter().flatten().map(|(_, ratio)| ratio.log2());
    let (low, high) = all.fold((-1.0_f64, 1.0_f64), |(low, high), log| {
        (low.min(log), high.max(log))
    });
    let (low, high) = (low.floor(), high.ceil());
    let x = |log: f64| LEFT + (log - low) / (high - low) * (WIDTH - LEFT - 30.0);
    let bottom = TOP + rows * ROW;
    for log in low as i32..=high as i32 {
        let at = x(f64::from(log));
        let line = if log == 0 { "#000" } else { "#ddd" };
        svg.line((at, TOP - 8.0), (at, bottom), line);
        let name = if log < 0 {
            format!("1/{}", 1 << -log)
        } else {
            format!("{}", 1 << log)
        };
        svg.text(at, TOP - 14.0, "middle", 11, "#555", &name);
    }
    for (row, (case, ratios)) in run.cases.iter().zip(&ratios).enumerate() {
        let y = TOP + (row as f64 + 0.5) * ROW;
        let cost = case
            .first()
            .map_or(f64::NAN, |first| median(first.cpu_us.iter().copied()));
        svg.line((LEFT, y), (WIDTH - 30.0, y), "#eee");
        svg.text(16.0, y + 4.0, "start", 12, "#000", case.name);
        svg.text(
            LEFT - 16.0,
            y + 4.0,
            "end",
            11,
            "#555",
            &format!("{first} {} µs", short(cost)),
        );
        for (name, ratio) in ratios.iter().rev() {
            svg.dot(
                x(ratio.log2()),
                y,
                colour(run, name),
                &format!("{name} {ratio:.2}"),
            );
        }
    }
    svg.foot(run, bottom + 36.0);
    svg.end()
}

fn ratios(case: &CaseResult) -> Vec<(&'static str, f64)> {
    let Some(first) = case.first() else {
        return Vec::new();
    };
    let each = case
        .measured()
        .map(|(name, one)| (name, ratio(&one.cpu_us, &first.cpu_us)));
    each.collect()
}

/// A small picture for each case: percentiles to the right, microseconds upwards, a curve for each contender.
pub fn latency(run: &Run) -> String {
    const COLUMNS: usize = 3;
    const HIGH: f64 = 210.0;
    const TOP: f64 = 64.0;
    let wide = WIDTH / COLUMNS as f64;
    let rows = run.cases.len().div_ceil(COLUMNS) as f64;
    let height = TOP + rows * HIGH + 40.0;
    let mut svg = Svg::new(height, "Latency at half of what the slowest can take, µs");
    svg.legend(run, 46.0);
    for (number, case) in run.cases.iter().enumerate() {
        let left = (number % COLUMNS) as f64 * wide;
        let top = TOP + (number / COLUMNS) as f64 * HIGH;
        panel(run, case, &mut svg, (left, top), (wide, HIGH));
    }
    svg.foot(run, TOP + rows * HIGH + 24.0);
    svg.end()
}

fn panel(
    run: &Run,
    case: &CaseResult,
    svg: &mut Svg,
    (left, top): (f64, f64),
    (wide, high): (f64, f64),
) {
    let parts = Latency::NAMES.len();
    let curves: Vec<(&str, Vec<f64>)> = (case.measured())
        .map(|(name, one)| {
            let medians = (0..parts).map(|number| median(part(&one.latency, number)));
            (name, medians.map(|us| us.max(1.0).log10()).collect())
        })
        .collect();
    let all = || curves.iter().flat_map(|(_, logs)| logs.iter().copied());
    let low = all().fold(f64::INFINITY, f64::min).floor();
    let most = all()
        .fold(f64::NEG_INFINITY, f64::max)
        .ceil()
        .max(low + 1.0);
    let (x0, x1) = (left + 56.0, left + wide - 24.0);
    let (y0, y1) = (top + high - 30.0, top + 34.0);
    let x = |number: usize| x0 + number as f64 / (parts - 1) as f64 * (x1 - x0);
    let y = |log: f64| y0 - (log - low) / (most - low) * (y0 - y1);
    svg.text(
        left + 16.0,
        top + 18.0,
        "start",
        12,
        "#000",
        &format!("{}, {:.0}/s", case.name, case.rate),
    );
    for log in low as i32..=most as i32 {
        let at = y(f64::from(log));
        svg.line((x0, at), (x1, at), "#ddd");
        svg.text(
            x0 - 6.0,
            at + 4.0,
            "end",
            10,
            "#555",
            &format!("{:.0}", 10f64.powi(log)),
        );
    }
    for (number, name) in Latency::NAMES.iter().enumerate() {
        svg.line((x(number), y1), (x(number), y0), "#eee");
        svg.text(x(number), y0 + 14.0, "middle", 10, "#555", name);
    }
    for (name, logs) in curves.iter().rev() {
        let points: Vec<_> = logs
            .iter()
            .enumerate()
            .map(|(number, log)| (x(number), y(*log)))
            .collect();
        svg.curve(&points, colour(run, name));
    }
}
