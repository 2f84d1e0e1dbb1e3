//! `funnel_svg`: every label gives a document, every figure of the table is in it, wrong arguments are named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use common::{fails, lines, open, value};
use roxmltree::Document;

/// The texts of a picture, in the order of the document.
fn texts(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    let shown = |node: roxmltree::Node<'_, '_>| {
        node.descendants().filter_map(|inner| inner.is_text().then(|| inner.text()).flatten()).collect::<String>()
    };
    document.descendants().filter(|node| node.tag_name().name() == "text").map(shown).collect()
}

#[test]
fn the_picture_shows_what_the_table_says() {
    let (_db, s) = open(
        r#"CREATE TABLE u AS SELECT n, (SELECT jsonb_agg(jsonb_build_object('event', 's' || k, 'time', 1700000000 + 100 * k * n)) FROM generate_series(1, n % 5) k) AS events
           FROM generate_series(1, 400) n;
           CREATE TABLE f AS SELECT eventkit.funnel_agg(events, '{"steps": ["s1", {"event": "s2", "optional": true}, "s3", "s4"]}' ORDER BY n) AS summary FROM u"#,
    );
    let shown = texts(&value(&s, "SELECT eventkit.funnel_svg(summary, title => 'All') FROM f"));
    let figures = lines(
        &s,
        "SELECT step, label, users, to_char(100 * share_of_first, 'FM990.0') || ' %', \
             coalesce(to_char(100 * share_of_previous, 'FM990.0') || ' % of previous, ' || coalesce(drop_off || ' lost', 'optional'), '') \
         FROM eventkit.funnel_table((SELECT summary FROM f))",
    );
    assert_eq!(shown[0], "All");
    for figures in figures {
        for figure in figures.split('|').filter(|figure| !figure.is_empty()) {
            assert!(shown.iter().any(|text| text.starts_with(figure)), "{figure} is not among {shown:?}");
        }
    }
    assert_eq!(shown.iter().filter(|text| text.contains(", median ")).count(), 3, "{shown:?}");
}

#[test]
fn any_label_and_title_gives_a_document() {
    let (_db, s) = open("");
    for label in [
        r#"<script>alert("x")</script>"#,
        "]]> & ' \" <!-- --> &#0; <?x?>",
        "tab\there\nand\u{1}\u{1b}[31m",
        "\u{202e}turned",
        "שלום",
        "日本語のとても長いラベル日本語のとても長いラベル日本語のとても長いラベル",
        "\u{fffe}\u{ffff}\u{10ffff}",
        &"W".repeat(500),
        "",
    ] {
        let definition = format!(
            "jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('event', 'a', 'label', $l${label}$l$), 'b'))"
        );
        let sql =
            format!("SELECT eventkit.funnel_svg(eventkit.funnel_agg('[]'::jsonb, {definition}), 400, $t${label}$t$)");
        // An empty label may be refused by the definition, which is not what is asked here.
        match s.value(&sql) {
            Ok(svg) => assert!(texts(&svg.unwrap()).len() >= 6, "{label}"),
            Err(failure) => assert!(label.is_empty() && failure.sqlstate == "22023", "{label}: {failure}"),
        }
    }
}

#[test]
fn nothing_is_no_picture_and_wrong_widths_are_named() {
    let (_db, s) = open("");
    assert_eq!(value(&s, "SELECT eventkit.funnel_svg(NULL)"), "NULL");
    let funnel = "eventkit.funnel_agg('[]'::jsonb, ARRAY['a', 'b'], NULL)";
    assert!(
        value(&s, &format!("SELECT eventkit.funnel_svg({funnel}, title => NULL)")).contains("aria-label=\"Funnel\"")
    );
    for width in ["0", "-1", "399", "4001", "2147483647"] {
        for summary in [funnel, "NULL"] {
            let failure = fails(&s, &format!("SELECT eventkit.funnel_svg({summary}, {width})"));
            assert_eq!(failure.sqlstate, "22023", "{failure}");
            assert_eq!(failure.message, format!("invalid value for argument \"width\": {width}"));
            assert_eq!(failure.detail.as_deref(), Some("A picture is 400 to 4000 pixels wide."));
        }
    }
    assert_eq!(fails(&s, &format!("SELECT eventkit.funnel_svg({funnel}, NULL)")).sqlstate, "22004");
}
