//! Plots as SVG: curves over a key, both axes logarithmic.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 68.0;

/// Told apart by everybody (Okabe and Ito's palette).
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];

/// A system's curve.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot of some curves: what it is of, what goes to the right and up, and where it was measured.
pub(crate) fn curves(title: &str, x: &str, y: &str, facts: &str, curves: &[Curve]) -> String {
    let [title, x, y, facts] = [title, x, y, facts].map(escape);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let xs = Axis::over(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let ys = Axis::over(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for mark in xs.marks() {
        let at = xs.place(mark);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>");
        let _ =
            writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", bottom + 16.0, plain(mark));
    }
    for mark in ys.marks() {
        let at = ys.place(mark);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            plain(mark)
        );
    }
    let _ = writeln!(svg, "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{x}</text>", bottom + 32.0);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" fill=\"#444\">{y}</text>", TOP - 10.0);
    for (line, facts) in lines(&facts).into_iter().enumerate() {
        let at = HEIGHT - 20.0 + 12.0 * line as f64;
        let _ = writeln!(svg, "<text x=\"8\" y=\"{at}\" font-size=\"8\" fill=\"#666\">{facts}</text>");
    }
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let places: Vec<_> =
            curve.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", xs.place(x), ys.place(y))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        let at = TOP + 18.0 * (index as f64 + 0.5);
        let _ = writeln!(svg, "<path d=\"M{} {at}h18\" stroke=\"{colour}\" stroke-width=\"2\"/>", right + 10.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", right + 34.0, at + 4.0, curve.name);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A logarithmic axis.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (least, most) = values.fold((f64::INFINITY, 1.0_f64), |(a, b), value| (a.min(value), b.max(value)));
        let least = if least.is_finite() { least.max(0.1) } else { 1.0 };
        // Some room at both ends, and never an axis without length.
        Self { least: least / 1.3, most: most.max(least * 2.0) * 1.3, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.max(self.least).ln() - self.least.ln()) / (self.most.ln() - self.least.ln());
        self.from + part * (self.to - self.from)
    }

    /// Powers of ten, and where those are few, twice and five times as much as well.
    fn marks(&self) -> Vec<f64> {
        let few = self.most / self.least < 300.0;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (-1..=12).map(|power| 10_f64.powi(power));
        let all = powers.flat_map(|power| steps.iter().map(move |step| power * step));
        all.filter(|mark| (self.least..=self.most).contains(mark)).collect()
    }
}

/// A long sentence as two lines, cut at a comma.
fn lines(text: &str) -> [&str; 2] {
    let commas = text.match_indices(", ").map(|(at, _)| at + 2);
    let (first, second) = text.split_at(commas.take_while(|at| *at < 110).last().unwrap_or(0));
    [first, second]
}

/// As text in XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn plain(mark: f64) -> String {
    match mark {
        1e6.. => format!("{}M", mark / 1e6),
        1e3.. => format!("{}k", mark / 1e3),
        _ => format!("{mark}"),
    }
}
