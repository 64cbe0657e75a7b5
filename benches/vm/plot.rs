//! Draws cost against size.
//!
//! Takes rows. Returns an SVG with two logarithmic axes. Does not interpolate points.

use std::fmt::Write as _;

use serde_json::Value;

/// The curves: the measurement, its source, the column, the colour and the label.
const CURVES: [(&str, &str, &str, &str, &str); 6] = [
    ("first sync", "API", "virtual_ms", "#1f77b4", "first sync"),
    ("first sync", "API", "floor_ms", "#aec7e8", "first sync, the kernel alone (floor)"),
    ("restart, nothing changed", "API", "virtual_ms", "#9467bd", "restart, nothing changed"),
    ("burst of 1,000 endpoints", "API", "virtual_ms", "#ff7f0e", "burst of 1,000 endpoints"),
    ("one endpoint", "API", "virtual_ms", "#2ca02c", "one endpoint"),
    ("one endpoint", "API", "floor_ms", "#98df8a", "one endpoint, the kernel alone (floor)"),
];

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// The frame in pixels: left, right, top, bottom.
const FRAME: [f64; 4] = [70.0, 470.0, 20.0, 410.0];
/// The exponents of ten at the ends of the axes. This is the axis of Services; the next one is that
/// of milliseconds.
const SERVICES: (f64, f64) = (2.0, 4.0);
const TIME: (f64, f64) = (-1.0, 4.0);

pub(crate) fn svg(rows: &[Value]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    axes(&mut svg);
    for (at, (what, source, key, colour, name)) in CURVES.iter().enumerate() {
        let is_of_it = |row: &&Value| {
            row["what"] == *what && row["source"] == *source && row["endpoints"] == 10
        };
        let point = |row: &Value| Some((row["services"].as_f64()?, row[*key].as_f64()?));
        let mut points: Vec<_> = rows.iter().filter(is_of_it).filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let places: Vec<_> = points.iter().map(|(size, time)| (x(*size), y(*time))).collect();
        let line: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        )
        .unwrap();
        for (x, y) in places {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")
                .unwrap();
        }
        let top = 40.0 + 22.0 * at as f64;
        writeln!(
            svg,
            "<rect x=\"490\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n\
             <text x=\"508\" y=\"{}\">{name}</text>",
            top - 10.0,
            top
        )
        .unwrap();
    }
    svg + "</svg>\n"
}

fn axes(svg: &mut String) {
    let [left, right, top, bottom] = FRAME;
    for power in SERVICES.0 as i32..=SERVICES.1 as i32 {
        let (size, place) = (10f64.powi(power), x(10f64.powi(power)));
        writeln!(
            svg,
            "<line x1=\"{place:.1}\" y1=\"{top}\" x2=\"{place:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\n\
             <text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{size}</text>",
            bottom + 18.0
        )
        .unwrap();
    }
    for power in TIME.0 as i32..=TIME.1 as i32 {
        let (time, place) = (10f64.powi(power), y(10f64.powi(power)));
        writeln!(
            svg,
            "<line x1=\"{left}\" y1=\"{place:.1}\" x2=\"{right}\" y2=\"{place:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{time} ms</text>",
            left - 6.0,
            place + 4.0
        )
        .unwrap();
    }
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">Services, with 10 endpoints each</text>",
        f64::midpoint(left, right),
        bottom + 38.0
    )
    .unwrap();
}

fn x(size: f64) -> f64 {
    place(size, SERVICES, FRAME[0], FRAME[1])
}

fn y(time: f64) -> f64 {
    place(time, TIME, FRAME[3], FRAME[2])
}

fn place(value: f64, (least, most): (f64, f64), from: f64, to: f64) -> f64 {
    from + (value.log10() - least) / (most - least) * (to - from)
}
