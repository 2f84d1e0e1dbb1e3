//! The sequence functions against a search that goes back and tries everything, and against ClickHouse's own answers.

use proptest::prelude::*;

use super::pattern::{Action, Comparison};
use super::state::{self, Rows};
use super::{Matcher, Pattern};
use crate::error::Condition;
use crate::time::Micros;

/// What ClickHouse says of 3,000 small users; the script beside the file writes it.
const GOLDEN: &str = include_str!("../../../../pgrx-tests/tests/golden/clickhouse_sequence.txt");

const SECOND: Micros = 1_000_000;

fn add(bytes: &mut Vec<u8>, time: Micros, matched: u64) {
    if !state::push(bytes, time, matched).unwrap() {
        let larger = state::grown(bytes, 0).unwrap();
        assert!(larger.len() > bytes.len());
        *bytes = larger;
        assert!(state::push(bytes, time, matched).unwrap());
    }
}

/// A state as the aggregates build it.
fn gathered(pattern: &str, conditions: usize, rows: &[(Micros, u64)]) -> Vec<u8> {
    let mut bytes = state::empty(pattern.as_bytes(), conditions);
    for (time, matched) in rows.iter().filter(|row| row.1 != 0) {
        add(&mut bytes, *time, *matched);
    }
    bytes
}

/// Whether the rows match, how often, and the times.
type Answer = (bool, i64, Vec<Micros>);

fn answer(bytes: &[u8]) -> Answer {
    let rows = Rows::read(bytes).unwrap();
    let mut matcher = Matcher::new(rows.read_pattern().unwrap());
    let mut run = || {
        (
            matcher.matches(rows, &mut || ()).unwrap(),
            matcher.count(rows, &mut || ()).unwrap(),
            matcher.times(rows, &mut || ()).unwrap(),
        )
    };
    let first = run();
    assert_eq!(run(), first, "nothing is left of a group");
    first
}

fn of(pattern: &str, conditions: usize, rows: &[(Micros, u64)]) -> Answer {
    answer(&gathered(pattern, conditions, rows))
}

/// The search that tries everything: the nearest rows first, back to the last choice when it fails.
struct Oracle<'a> {
    actions: &'a [Action],
    rows: &'a [(Micros, u64)],
    most: Vec<Micros>,
}

impl Oracle<'_> {
    /// Does the actions from one on; the path so far has come to a row, measures times from a base, and took `times`.
    /// Gives where the match ends and the times it took.
    fn go(&mut self, action: usize, at: usize, base: usize, times: &[Micros]) -> Option<(usize, Vec<Micros>)> {
        if times.len() > self.most.len() {
            self.most = times.to_vec();
        }
        let left = &self.actions[action..];
        let Some(first) = left.first() else { return Some((at, times.to_vec())) };
        if at == self.rows.len() {
            let needs_no_row = |action: &Action| match action {
                Action::Star => true,
                Action::Condition(_) | Action::Any => false,
                Action::Time { comparison: Comparison::AtLeast, distance, .. } => *distance == 0,
                Action::Time { comparison, .. } => matches!(comparison, Comparison::AtMost | Comparison::Below),
            };
            return left.iter().all(needs_no_row).then(|| (at, times.to_vec()));
        }
        match *first {
            Action::Condition(bit) if self.rows[at].1 & bit != 0 => {
                self.go(action + 1, at + 1, at, &[times, &[self.rows[at].0]].concat())
            }
            Action::Condition(_) => None,
            Action::Any => self.go(action + 1, at + 1, at, times),
            // The star in front may pass over all rows, every other one has to stop at one.
            Action::Star => {
                (at..self.rows.len() + usize::from(action == 0)).find_map(|to| self.go(action + 1, to, to, times))
            }
            Action::Time { comparison, distance, .. } => (at..self.rows.len()).find_map(|to| {
                let since = self.rows[to].0 - self.rows[base].0;
                let right = match comparison {
                    Comparison::AtMost => since <= distance,
                    Comparison::Below => since < distance,
                    Comparison::AtLeast => since >= distance,
                    Comparison::Above => since > distance,
                    Comparison::Equal => since == distance,
                };
                right.then(|| self.go(action + 1, to, to, times)).flatten()
            }),
        }
    }
}

fn oracle(pattern: &Pattern, rows: &[(Micros, u64)]) -> Answer {
    let mut rows: Vec<_> = rows.iter().copied().filter(|row| row.1 != 0).collect();
    // Insertion sort: stable, and nothing like the one under test.
    for end in 1..rows.len() {
        let mut i = end;
        while i > 0 && rows[i - 1].0 > rows[i].0 {
            rows.swap(i - 1, i);
            i -= 1;
        }
    }
    let mut search = Oracle { actions: pattern.actions(), rows: &rows, most: Vec::new() };
    let first = search.go(0, 0, 0, &[]);
    let times = first.clone().map_or_else(|| search.most.clone(), |(_, times)| times);
    let (mut count, mut from) = (0, 0);
    while from < rows.len() {
        let Some((end, _)) = search.go(0, from, from, &[]) else { break };
        count += 1;
        from = end.max(from + 1);
    }
    (first.is_some(), count, times)
}

fn pattern_text(conditions: usize) -> impl Strategy<Value = String> {
    let element = prop_oneof![
        6 => (1..=conditions).prop_map(|number| format!("(?{number})")),
        2 => Just(".*".to_owned()),
        2 => Just(".".to_owned()),
        4 => (prop::sample::select(vec!["<=", "<", ">=", ">", "=="]), 0..5i64)
            .prop_map(|(comparison, seconds)| format!("(?t{comparison}{seconds})")),
    ];
    prop::collection::vec(element, 1..9).prop_map(|elements| {
        let mut text = String::new();
        let mut after_time = false;
        for element in elements {
            let time = element.starts_with("(?t");
            if !(time && after_time) {
                text += &element;
            }
            after_time = time;
        }
        text
    })
}

fn rows(most: usize) -> impl Strategy<Value = Vec<(Micros, u64)>> {
    prop::collection::vec((0i64..10, 0u64..8).prop_map(|(at, met)| (at * SECOND, met)), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]
    #[test]
    fn equals_the_search_that_tries_everything(text in pattern_text(3), rows in rows(10)) {
        let pattern = Pattern::read(text.as_bytes(), 3).unwrap();
        prop_assert_eq!(of(&text, 3, &rows), oracle(&pattern, &rows));
    }
}

/// A user of the golden file: conditions, pattern, rows, ClickHouse's three answers as text.
fn golden() -> impl Iterator<Item = (usize, &'static str, Vec<(Micros, u64)>, [&'static str; 3])> {
    GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (user, answers) = line.split_once(" = ").unwrap();
        let mut fields = user.split(' ');
        let (conditions, pattern) = (fields.next().unwrap().parse().unwrap(), fields.next().unwrap());
        let rows = fields
            .map(|row| row.split_once(':').unwrap())
            .map(|(time, met)| (time.parse::<Micros>().unwrap() * SECOND, met.parse().unwrap()))
            .collect();
        let answers: Vec<_> = answers.split(' ').collect();
        (conditions, pattern, rows, answers.try_into().unwrap())
    })
}

/// The pattern up to its last condition.
fn without_tail(pattern: &str) -> &str {
    let conditions = pattern.match_indices("(?").filter(|(at, _)| !pattern[*at..].starts_with("(?t"));
    let last = conditions.last().unwrap().0;
    &pattern[..last + pattern[last..].find(')').unwrap() + 1]
}

/// There are two differences, both where a pattern has something behind its last condition.
///
/// sequenceMatchEvents notes the first path that met all conditions, and keeps to it when a dot or a comparison of times
/// behind makes another path the match. Ours are the times of the match.
///
/// Where a match takes the last row and the rest of the pattern needs none, ClickHouse reads on behind the pattern, and
/// what it finds there now and then makes it miss that match: the same query, asked again, finds it.
#[test]
fn equals_clickhouse() {
    let (mut users, mut matched, mut other_path, mut missed) = (0, 0, 0, 0);
    for (conditions, pattern, rows, [matches, count, times]) in golden() {
        let ours = of(pattern, conditions, &rows);
        let line = format!("{conditions} {pattern} {rows:?}: {ours:?}");
        let shown = |times: &[Micros]| {
            let seconds: Vec<_> = times.iter().map(|time| (time / SECOND).to_string()).collect();
            format!("[{}]", seconds.join(","))
        };
        let read = Pattern::read(pattern.as_bytes(), conditions).unwrap();
        users += 1;
        matched += usize::from(ours.0);
        if i32::from(ours.0).to_string() != matches || ours.1.to_string() != count {
            assert!(read.open_end() < read.actions().len() && ours.0, "{line}, not {matches} {count}");
            assert!(
                count.parse() == Ok(ours.1 - 1) && (matches == "1" || ours.1 == 1),
                "{line}, not {matches} {count}"
            );
            missed += 1;
        }
        if shown(&ours.2) != times {
            let tail = read.actions().iter().rev().take_while(|action| !matches!(action, Action::Condition(_)));
            assert!(ours.0 && tail.into_iter().any(|action| *action != Action::Star), "{line}, not {times}");
            assert_eq!(shown(&of(without_tail(pattern), conditions, &rows).2), times, "{line}");
            other_path += 1;
        }
    }
    println!("{users} users, {matched} match, {other_path} on another path, {missed} missed by ClickHouse");
    assert_eq!(users, 3_000);
    assert!(matched > 1_000 && other_path < 60 && missed < 10);
}

#[test]
fn the_documented_examples() {
    // ClickHouse's page on these functions: numbers 1, 3, 2 at times 1 to 3, and 1, 3, 2, 1, 3, 2 at times 1 to 6.
    let number = |numbers: &[u32]| -> Vec<(Micros, u64)> {
        (1..).zip(numbers).map(|(time, number)| (time * SECOND, 1 << (number - 1))).collect()
    };
    assert!(of("(?1)(?2)", 2, &number(&[1, 2, 1][..2])).0);
    assert!(!of("(?1)(?2)", 3, &number(&[1, 3, 2])).0);
    assert!(of("(?1).*(?2)", 3, &number(&[1, 3, 2])).0);
    assert_eq!(of("(?1).*(?2)", 3, &number(&[1, 3, 2, 1, 3, 2])), (true, 2, vec![SECOND, 3 * SECOND]));
    assert_eq!(of("(?1).*(?2)(?4)", 4, &number(&[1, 3, 2, 1, 3, 2, 4])).2, [1, 6, 7].map(|time| time * SECOND));
    // More than half an hour apart, other rows between.
    let rows = [(0, 1), (60 * SECOND, 4), (1800 * SECOND, 2), (1801 * SECOND, 2)];
    assert_eq!(of("(?1)(?t>1800)(?2)", 3, &rows).2, [0, 1801 * SECOND]);
}

#[test]
fn times_compare_to_the_microsecond() {
    let apart = |micros| [(7, 1), (7 + micros, 2)];
    for (pattern, right, wrong) in [
        ("(?1)(?t==1)(?2)", SECOND, SECOND + 1),
        ("(?1)(?t<=1)(?2)", SECOND, SECOND + 1),
        ("(?1)(?t<1)(?2)", SECOND - 1, SECOND),
        ("(?1)(?t>=1)(?2)", SECOND, SECOND - 1),
        ("(?1)(?t>1)(?2)", SECOND + 1, SECOND),
        ("(?1)(?t<=0.5)(?2)", SECOND / 2, SECOND / 2 + 1),
        ("(?1)(?t==0.000001)(?2)", 1, 2),
    ] {
        assert!(of(pattern, 2, &apart(right)).0, "{pattern}");
        assert!(!of(pattern, 2, &apart(wrong)).0, "{pattern}");
    }
    // From one end of time to the other.
    let rows = [(Micros::MIN + 1, 1), (Micros::MAX - 1, 2)];
    for (comparison, expected) in [("<=", false), ("<", false), (">=", true), (">", true), ("==", false)] {
        assert_eq!(of(&format!("(?1)(?t{comparison}9000000000000)(?2)"), 2, &rows).0, expected, "{comparison}");
    }
}

#[test]
fn no_rows_match_what_needs_none() {
    for (pattern, expected) in [(".*", true), ("(?t<5)", true), (".*(?t>=0).*", true), (".", false), ("(?t>0)", false)]
    {
        assert_eq!(Pattern::read(pattern.as_bytes(), 1).unwrap().matches_nothing(), expected);
        assert_eq!(of(pattern, 1, &[]), (expected, 0, vec![]), "{pattern}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_with_its_position() {
    for (pattern, message, detail) in [
        ("", "argument \"pattern\" is empty", "at position 1"),
        ("(?1) (?2)", "invalid pattern: no element of a pattern begins here", "At position 5: \" (?2)\""),
        ("(?1)é", "invalid pattern: no element", "At position 5: \"é\""),
        ("*", "invalid pattern: no element", "At position 1: \"*\""),
        ("(?", "invalid pattern: the number of a condition or a t is missing", "At position 3, where the pattern ends"),
        ("(?x)", "invalid pattern: the number of a condition or a t is missing", "At position 3: \"x)\""),
        ("(?0)", "the pattern asks for condition 0", "At position 1: \"(?0)\". The call has 2 conditions."),
        (".(?3)", "the pattern asks for condition 3", "At position 2: \"(?3)\". The call has 2 conditions."),
        ("(?99999999999999999999)", "the pattern asks for condition 99999999999999999999", "At position 1"),
        ("(?1", "invalid pattern: a closing parenthesis is missing", "At position 4, where the pattern ends"),
        ("(?1)(?t!=5)(?2)", "invalid pattern: the comparisons of times are", "At position 8: \"!=5)(?2)\""),
        ("(?1)(?t=5)(?2)", "invalid pattern: the comparisons of times are", "At position 8"),
        ("(?1)(?t<=)(?2)", "invalid pattern: a number of seconds is missing", "At position 10"),
        ("(?1)(?t<=-1)(?2)", "invalid pattern: a number of seconds is missing", "At position 10"),
        ("(?1)(?t<=1.)(?2)", "invalid pattern: seconds have one to six decimals", "At position 10"),
        ("(?1)(?t<=1.1234567)(?2)", "invalid pattern: seconds have one to six decimals", "At position 10"),
        ("(?1)(?t<=99999999999999)(?2)", "invalid pattern: that is more than 292,000 years", "At position 10"),
        ("(?1)(?t<=1)(?t>0)(?2)", "invalid pattern: one comparison of times follows another", "At position 12"),
    ] {
        let error = Pattern::read(pattern.as_bytes(), 2).unwrap_err();
        assert_eq!(error.condition, Condition::InvalidParameterValue, "{pattern}");
        assert!(error.message.starts_with(message), "{pattern}: {error}");
        assert!(error.detail.as_ref().unwrap().contains(detail), "{pattern}: {error}");
        assert!(error.hint.is_some(), "{pattern}");
    }
    let error = Pattern::read(&[b'.'; 1 << 20], 2).unwrap_err();
    assert_eq!(error.condition, Condition::ProgramLimitExceeded);
    assert!(error.detail.as_ref().unwrap().contains("position 4097"));
    assert!(Pattern::read(&[b'.'; 4096], 64).is_ok());
    assert!(Pattern::read(b".", 0).is_err());
    assert!(Pattern::read(b".", 65).is_err());
}

#[test]
fn sixty_four_conditions_and_four_thousand_elements() {
    let chain: String = (1..=64).map(|number| format!("(?{number}).*(?t<=1)")).collect();
    let rows: Vec<_> = (0..64).map(|at| (at * SECOND, 1 << at)).collect();
    let (matched, count, times) = of(&chain, 64, &rows);
    assert!(matched && count == 1 && times.len() == 64);
    let dots = ".".repeat(4096);
    assert_eq!(of(&dots, 1, &vec![(0, 1); 4095]), (false, 0, vec![]));
    assert_eq!(of(&dots, 1, &vec![(0, 1); 8192]), (true, 2, vec![]));
}

/// Each of these makes a search that goes back look at all pairs or triples of rows; the test would not end.
#[test]
fn a_million_rows_of_one_group_stay_small_and_linear() {
    let rows: Vec<_> = (0..1_000_000).map(|at| (at * SECOND, 1 << (at % 2))).collect();
    for pattern in [
        "(?1).*(?2).*(?1).*(?2).*(?3)",
        "(?1)(?t<=600).*(?2)(?t>=10)(?1)(?t<100000)(?2)(?t==77).(?3)",
        "(?1)(?t<=500000)(?2)(?t<=500000)(?1)(?t==500000)(?3)",
    ] {
        let bytes = gathered(pattern, 3, &rows);
        assert!(bytes.len() <= 1 << 23, "{} bytes", bytes.len());
        let (matched, count, times) = answer(&bytes);
        assert!(!matched && count == 0 && times.len() >= 3, "{pattern}");
    }
    let (matched, count, _) = of("(?1)(?2)", 2, &rows);
    assert!(matched && count == 500_000);
}

#[test]
fn a_state_keeps_to_its_pattern() {
    let bytes = state::empty(b"(?1)", 2);
    state::check_same(&bytes, b"(?1)", 2).unwrap();
    for (pattern, conditions, argument) in [("(?2)", 2, "pattern"), ("(?1).", 2, "pattern"), ("(?1)", 3, "conditions")]
    {
        let error = state::check_same(&bytes, pattern.as_bytes(), conditions).unwrap_err();
        assert_eq!(error.message, format!("argument \"{argument}\" differs between rows of one group"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn any_parts_give_the_same_answer(text in pattern_text(3), rows in rows(24), cut in any::<prop::sample::Index>()) {
        let expected = of(&text, 3, &rows);
        let cut = cut.index(rows.len() + 1);
        let mut whole = gathered(&text, 3, &rows[..cut]);
        let part = gathered(&text, 3, &rows[cut..]);
        let part = Rows::read(&part).unwrap();
        whole = state::grown(&whole, part.len()).unwrap();
        state::append(&mut whole, part).unwrap();
        prop_assert_eq!(answer(&whole), expected);
        add(&mut whole, 3, 1);
        prop_assert!(Rows::read(&whole).is_ok());
    }

    #[test]
    fn where_times_are_unique_any_order_gives_the_same_answer(
        text in pattern_text(3), rows in prop::collection::hash_map(0i64..30, 0u64..8, 0..12),
    ) {
        let rows: Vec<_> = rows.into_iter().map(|(at, met)| (at * SECOND, met)).collect();
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        prop_assert_eq!(of(&text, 3, &rows), of(&text, 3, &sorted));
    }

    #[test]
    fn a_state_gives_back_its_rows(rows in prop::collection::vec((any::<i64>(), 1u64..), 0..40)) {
        let bytes = gathered("(?1).*(?64)", 64, &rows);
        let read = Rows::read(&bytes).unwrap();
        let mut back = Vec::new();
        read.gather(&mut back, &mut || ()).unwrap();
        prop_assert_eq!(read.in_order(), rows.is_sorted_by_key(|row| row.0));
        prop_assert_eq!((read.pattern(), read.conditions()), (&b"(?1).*(?64)"[..], 64));
        let mut rows = rows;
        rows.sort_by_key(|row| row.0);
        prop_assert_eq!(back, rows);
    }

    #[test]
    fn any_bytes_give_an_answer_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..90), used in 0u32..100, head in (0u8..70, 0u8..3), len in 0u16..30,
    ) {
        if bytes.len() >= 24 {
            bytes[..4].copy_from_slice(&used.to_ne_bytes());
            bytes[4..7].copy_from_slice(&[1, head.0, head.1]);
            bytes[16..18].copy_from_slice(&len.to_ne_bytes());
            for (place, byte) in bytes[18..].iter_mut().zip(b"(?1).*(?t<5).(?t>=0)(?2)(?t==1)") {
                *place = *byte;
            }
        }
        if let Ok(rows) = Rows::read(&bytes) {
            if let Ok(pattern) = rows.read_pattern() {
                let mut matcher = Matcher::new(pattern);
                let _ = matcher.matches(rows, &mut || ());
                let _ = matcher.count(rows, &mut || ());
                let _ = matcher.times(rows, &mut || ());
            }
            let mut to = state::empty(b"(?1)", 2);
            to.resize(400, 0);
            let _ = state::append(&mut to, rows);
        }
        let _ = state::push(&mut bytes, 1, 1);
        let _ = state::grown(&bytes, 3);
    }

    #[test]
    fn any_text_is_a_pattern_or_refused(text in "[(?)t<>=.*0-9é ]{0,12}") {
        let _ = Pattern::read(text.as_bytes(), 3);
    }
}
