//! What our pictures have in common. They bring their own light background, so that they can
//! be read on a dark page too.

use std::fmt::Write as _;

pub(crate) const WIDTH: f64 = 860.0;
pub(crate) const MARGIN: f64 = 28.0;

pub(crate) const OURS: &str = "#1f7a5c";
pub(crate) const TEXT: &str = "#24292f";
pub(crate) const FAINT: &str = "#57606a";

/// The beginning of a picture of this height. `</svg>` ends it.
pub(crate) fn begin(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">\n\
         <title>{title}</title>\n\
         <rect x=\"0.5\" y=\"0.5\" width=\"{w}\" height=\"{h}\" rx=\"10\" fill=\"#ffffff\" \
         stroke=\"#d0d7de\"/>\n",
        w = WIDTH - 1.0,
        h = height - 1.0,
    )
}

pub(crate) fn text(
    svg: &mut String,
    x: f64,
    y: f64,
    size: u32,
    fill: &str,
    weight: &str,
    text: &str,
) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" \
         fill=\"{fill}\">{text}</text>"
    );
}
