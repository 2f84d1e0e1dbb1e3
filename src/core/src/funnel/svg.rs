//! A funnel as a picture: a standalone SVG document without scripts, links or fonts of its own.

use std::fmt::Write;

use super::label::{columns, cut, duration, percent, shown};
use super::summary::Summary;
use super::table::{Row, rows};

/// The narrowest and the widest picture, in pixels.
pub const WIDTHS: std::ops::RangeInclusive<u32> = 400..=4000;

const MARGIN: u32 = 20;
const TITLE: u32 = 36;
/// From one step's label to that of the next, and what of it the transition between them takes.
const STEP: u32 = 84;
const TRANSITION: u32 = 30;
/// A cell of text of the large and of the small size takes no more than this.
const CELL: u32 = 9;
const SMALL_CELL: u32 = 7;

/// Colours for light surroundings, and for dark ones where the viewer tells. The background is part of the picture, so
/// that it can be read wherever it is put.
const STYLE: &str = "<style>\
.ek-ground{fill:#ffffff;stroke:#d0d7de}.ek-text{fill:#1f2328}.ek-note{fill:#59636e}.ek-track{fill:#eaeef2}.ek-bar{fill:#2f6feb}\
@media (prefers-color-scheme:dark){.ek-ground{fill:#0d1117;stroke:#30363d}.ek-text{fill:#e6edf3}.ek-note{fill:#9198a1}\
.ek-track{fill:#21262d}.ek-bar{fill:#4c8dff}}\
</style>";

/// The text as the content of an element or an attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// How many cells a width in pixels has room for.
fn cells(pixels: u32, cell: u32) -> usize {
    (pixels / cell) as usize
}

/// How wide a text is at most, in pixels.
fn pixels(text: &str, cell: u32) -> u32 {
    u32::try_from(columns(text)).unwrap_or(u32::MAX).saturating_mul(cell)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a width that is at most 4000")]
fn part(width: u32, share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(width)).round() as u32
}

/// What lies between a step and the one before: the share that went on, those lost, the median time.
fn transition(row: &Row) -> Option<String> {
    let share = row.share_of_previous?;
    let mut text = format!("{} of previous", percent(Some(share)));
    match row.drop_off {
        Some(lost) => write!(text, ", {lost} lost"),
        None => write!(text, ", optional"),
    }
    .ok()?;
    if let Some(took) = row.from_previous {
        write!(text, ", median {}", duration(took.median)).ok()?;
    }
    Some(text)
}

/// One step whose label begins at the height `y`.
fn step(svg: &mut String, row: &Row, y: u32, inner: u32) -> std::fmt::Result {
    let share = row.share_of_first.unwrap_or(0.0);
    let (right, base) = (MARGIN + inner, y + 16);
    if row.step > 1 {
        let (top, left) = (y - TRANSITION + 8, MARGIN + 8);
        let note = transition(row).unwrap_or_else(|| "nobody came here".to_owned());
        write!(svg, "<path class=\"ek-note\" d=\"M{} {top}h10l-5 6z\"/>", left - 5)?;
        let note = cut(&note, cells(inner - 24, SMALL_CELL));
        write!(
            svg,
            "<text class=\"ek-note\" x=\"{}\" y=\"{}\" font-size=\"12\">{}</text>",
            left + 14,
            top + 7,
            escaped(&note)
        )?;
    }
    let (users, rate) = (row.users.to_string(), percent(row.share_of_first));
    // The figures have a column of their own on the right; the label gets the rest.
    let rate_room = 8 * CELL;
    let figures = pixels(&users, CELL) + rate_room;
    let number = format!("{}.", row.step);
    let label_at = MARGIN + 3 * CELL;
    let label = cut(&shown(&row.label), cells((right - label_at).saturating_sub(figures + CELL), CELL).max(1));
    write!(svg, "<text class=\"ek-note\" x=\"{MARGIN}\" y=\"{base}\">{number}</text>")?;
    write!(
        svg,
        "<text class=\"ek-text\" x=\"{label_at}\" y=\"{base}\" font-weight=\"600\" direction=\"ltr\"><tspan unicode-bidi=\"isolate\">{}</tspan></text>",
        escaped(&label)
    )?;
    let users_at = right - rate_room;
    write!(
        svg,
        "<text class=\"ek-text\" x=\"{users_at}\" y=\"{base}\" font-weight=\"600\" text-anchor=\"end\">{users}</text>"
    )?;
    write!(svg, "<text class=\"ek-text\" x=\"{right}\" y=\"{base}\" text-anchor=\"end\">{rate}</text>")?;
    let bar_at = y + 24;
    write!(svg, "<rect class=\"ek-track\" x=\"{MARGIN}\" y=\"{bar_at}\" width=\"{inner}\" height=\"24\" rx=\"4\"/>")?;
    let mut length = part(inner, share);
    if row.users > 0 {
        // Somebody is more than nobody, also where the picture has no pixel for it.
        length = length.max(2);
        write!(
            svg,
            "<rect class=\"ek-bar\" x=\"{MARGIN}\" y=\"{bar_at}\" width=\"{length}\" height=\"24\" rx=\"{}\"/>",
            (length / 2).min(4)
        )?;
    }
    write!(svg, "<title>{}</title>", escaped(&row.label))
}

fn draw(svg: &mut String, summary: &Summary, width: u32, title: Option<&str>) -> std::fmt::Result {
    let rows = rows(summary);
    let inner = width - 2 * MARGIN;
    let head = MARGIN + if title.is_some() { TITLE } else { 0 };
    let steps = u32::try_from(rows.len()).unwrap_or(0);
    let height = head + (steps * STEP).saturating_sub(TRANSITION) + MARGIN;
    let name = title.map_or_else(|| "Funnel".to_owned(), escaped);
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{name}\" font-family=\"system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif\" font-size=\"14\">{STYLE}"
    )?;
    write!(
        svg,
        "<rect class=\"ek-ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
        width - 1,
        height - 1
    )?;
    if let Some(title) = title {
        let title = escaped(&cut(&shown(title), cells(inner, CELL + 3)));
        write!(
            svg,
            "<text class=\"ek-text\" x=\"{MARGIN}\" y=\"{}\" font-size=\"18\" font-weight=\"600\">{title}</text>",
            MARGIN + 16
        )?;
    }
    for (row, at) in rows.iter().zip(0..) {
        svg.push_str("\n<g>");
        step(svg, row, head + at * STEP, inner)?;
        svg.push_str("</g>");
    }
    svg.push_str("\n</svg>\n");
    Ok(())
}

/// The picture: for each step its label, users, share of the first and a bar; between two steps the share that went on,
/// those lost and the median time. `width` is in pixels and within [`WIDTHS`]; what does not fit is cut with an
/// ellipsis, and a label is whole in the step's `title`, which viewers show as a tooltip. O(steps).
#[must_use]
pub fn svg(summary: &Summary, width: u32, title: Option<&str>) -> String {
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = draw(&mut svg, summary, width.clamp(*WIDTHS.start(), *WIDTHS.end()), title);
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funnel::summary::{add_user, empty};
    use crate::stored::Stored;
    use proptest::prelude::*;
    use roxmltree::Document;

    fn summary(labels: &[String], users: &[usize]) -> Summary {
        let mut bytes = empty(7, labels.iter().map(|label| (label.as_str(), false)));
        let times: Vec<i64> = (0..64).map(|step| step * 61_000_000).collect();
        for reached in users {
            if let Some(larger) = add_user(&mut bytes, &times[..(*reached).min(labels.len())]).unwrap() {
                bytes = larger;
            }
        }
        Summary::decode(&bytes).unwrap()
    }

    /// What a viewer shows, in the order of the document.
    fn texts(document: &Document<'_>) -> Vec<String> {
        let of_node = |node: roxmltree::Node<'_, '_>| {
            node.descendants().filter_map(|inner| inner.is_text().then(|| inner.text()).flatten()).collect::<String>()
        };
        document
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")))
            .map(of_node)
            .collect()
    }

    #[test]
    fn every_figure_is_in_the_picture() {
        let svg =
            svg(&summary(&["visit".into(), "sign <up>".into(), "pay".into()], &[3, 2, 1, 1]), 720, Some("Shop & more"));
        let document = Document::parse(&svg).unwrap();
        let expected = [
            "Shop & more",
            "1.",
            "visit",
            "4",
            "100.0 %",
            "50.0 % of previous, 2 lost, median 1 min 1 s",
            "2.",
            "sign <up>",
            "2",
            "50.0 %",
            "50.0 % of previous, 1 lost, median 1 min 1 s",
            "3.",
            "pay",
            "1",
            "25.0 %",
        ];
        assert_eq!(texts(&document), expected);
        let bars: Vec<_> = document
            .descendants()
            .filter(|node| node.attribute("class") == Some("ek-bar"))
            .map(|node| node.attribute("width").unwrap().to_owned())
            .collect();
        assert_eq!(bars, ["680", "340", "170"]);
    }

    #[test]
    fn nobody_is_no_bar_and_somebody_is_one() {
        let labels = ["a".to_owned(), "b".to_owned()];
        assert_eq!(svg(&summary(&labels, &[]), 720, None).matches("ek-bar\"").count(), 0);
        let mut users = vec![1; 5000];
        users.push(2);
        assert!(svg(&summary(&labels, &users), 720, None).contains("width=\"2\""));
    }

    fn label() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[\\x00-\\x20<>&\"']{0,20}",
            "[\u{590}-\u{6ff}\u{202a}-\u{202e}\u{fff0}-\u{ffff}]{0,20}",
            "[W日]{90,100}",
            "(\\]\\]>|<!--|-->|<\\?xml|&#0;|</text>|<script>){0,4}",
        ]
        .prop_map(|label| label.chars().take(100).filter(|c| *c != '\0').collect())
    }

    proptest! {
        #[test]
        fn any_label_gives_a_document(
            labels in prop::collection::vec(label(), 1..8), users in prop::collection::vec(0usize..9, 0..20),
            width in 0u32..5000, title in prop::option::of(label()),
        ) {
            let svg = svg(&summary(&labels, &users), width, title.as_deref());
            let document = Document::parse(&svg).map_err(|error| TestCaseError::fail(format!("{error}: {svg}")))?;
            let names: std::collections::BTreeSet<_> = document.descendants().filter(|n| n.is_element()).map(|n| n.tag_name().name()).collect();
            prop_assert!(names.iter().all(|name| ["g", "path", "rect", "style", "svg", "text", "title", "tspan"].contains(name)), "{names:?}");
            let titles: Vec<_> = document.descendants().filter(|n| n.has_tag_name("title") || n.tag_name().name() == "title").map(|n| n.text().unwrap_or_default().to_owned()).collect();
            prop_assert_eq!(titles, labels.iter().map(|label| shown(label)).collect::<Vec<_>>());
            // Nothing is wider than the picture.
            let room = cells(width.clamp(400, 4000), SMALL_CELL);
            prop_assert!(texts(&document).iter().all(|text| columns(text) <= room), "{svg}");
        }
    }
}
