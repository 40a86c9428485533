//! Latency by percentile, as SVG: the further right, the rarer; both axes logarithmic.

use super::report::Report;
use super::table::time;
use std::fmt::Write as _;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
/// One for each step, and again from the first.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00",
];
/// Points of a curve for each factor of ten.
const POINTS: u32 = 40;

/// A curve for each step of a run.
pub fn plot(report: &Report) -> String {
    let steps: Vec<_> = report
        .steps
        .iter()
        .filter(|step| step.answers > 0)
        .collect();
    let most = steps.iter().map(|step| step.answers).max().unwrap_or(1);
    // As far as there are ten answers beyond; at least to 99 %.
    let decades = (most as f64 / 10.0).log10().clamp(2.0, 6.0).floor();
    let values = steps.iter().flat_map(|step| {
        [
            step.all.0.min(),
            step.all.0.value_at_quantile(1.0 - 10f64.powf(-decades)),
        ]
    });
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    for value in values {
        let log = (value.max(1) as f64 / 1e3).log10();
        (low, high) = (low.min(log), high.max(log));
    }
    if low > high {
        (low, high) = (0.0, 3.0);
    }
    let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    let x = |decade: f64| LEFT + decade / decades * (WIDTH - LEFT - RIGHT);
    let y = |log: f64| HEIGHT - BOTTOM - (log - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Latency by percentile: {}, {} connections, {} loop</text>\n",
        escaped(&report.target),
        report.connections,
        report.pace
    );
    let mut write = |arguments: std::fmt::Arguments<'_>| {
        // A string takes all that is written to it.
        let _ = svg.write_fmt(arguments);
        svg.push('\n');
    };
    for decade in 0..=decades as u32 {
        let at = x(f64::from(decade));
        let name = match decade {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            more => format!("99.{} %", "9".repeat(more as usize - 2)),
        };
        write(format_args!(
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 20.0
        ));
    }
    for log in low as i32..=high as i32 {
        let at = y(f64::from(log));
        write(format_args!(
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            time(10f64.powi(log))
        ));
    }
    for (number, step) in steps.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = (0..=decades as u32 * POINTS).map(|point| {
            let decade = f64::from(point) / f64::from(POINTS);
            let value = step.all.0.value_at_quantile(1.0 - 10f64.powf(-decade));
            let log = (value.max(1) as f64 / 1e3).log10().clamp(low, high);
            format!("{:.1},{:.1}", x(decade), y(log))
        });
        let points: Vec<String> = points.collect();
        write(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
        let name = match step.rate {
            Some(rate) => format!("{rate}/s"),
            None => format!("{:.0}/s", step.throughput),
        };
        write(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
            LEFT + 10.0,
            TOP + 14.0 + 16.0 * number as f64
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
