//! The modes against ClickHouse's own answers, and the state against a plain list of rows.

use proptest::prelude::*;

use super::state::{self, Rows, Settings};
use super::{Levels, Mode, NAMES, retention};
use crate::time::Micros;

/// What ClickHouse says of 2,000 small users; the script beside the file writes it.
const GOLDEN: &str = include_str!("../../../../../pgrx-tests/tests/golden/clickhouse_window_funnel.txt");

const MODES: [Mode; 6] = [
    Mode::ClickhouseDefault,
    Mode::ClickhouseStrictOrder,
    Mode::ClickhouseStrictDeduplication,
    Mode::ClickhouseStrictIncrease,
    Mode::ClickhouseAllowReentry,
    Mode::ClickhouseStrictOnce,
];

fn add(bytes: &mut Vec<u8>, time: Micros, matched: u64) {
    if !state::push(bytes, time, matched).unwrap() {
        let larger = state::grown(bytes, 0).unwrap();
        assert!(larger.len() > bytes.len());
        *bytes = larger;
        assert!(state::push(bytes, time, matched).unwrap());
    }
}

/// A state as the aggregate builds it: rows without a match are left out where the mode does not need them.
fn gathered(settings: Settings, rows: &[(Micros, u64)]) -> Vec<u8> {
    let mut bytes = state::empty(settings);
    for (time, matched) in rows.iter().filter(|row| row.1 != 0 || settings.mode.needs_misses()) {
        add(&mut bytes, *time, *matched);
    }
    bytes
}

fn level(settings: Settings, bytes: &[u8]) -> usize {
    let mut levels = Levels::new(settings.mode, settings.steps, settings.window);
    let level = levels.level(Rows::read(bytes).unwrap(), &mut || ()).unwrap();
    assert_eq!(levels.level(Rows::read(bytes).unwrap(), &mut || ()).unwrap(), level, "nothing is left of a user");
    level
}

/// The users of a file that differ from their answers, as text.
fn differences(golden: &str) -> (usize, Vec<String>) {
    let (mut users, mut wrong) = (0, Vec::new());
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let (user, answers) = line.split_once(" = ").unwrap();
        let mut fields = user.split(' ');
        let mut number = || fields.next().unwrap().parse::<i64>().unwrap();
        let (steps, window) = (number(), number());
        let rows: Vec<(Micros, u64)> = fields
            .map(|row| row.split_once(':').unwrap())
            .map(|(time, matched)| (time.parse().unwrap(), matched.parse().unwrap()))
            .collect();
        let steps = usize::try_from(steps).unwrap();
        let mut found: Vec<String> = MODES
            .iter()
            .map(|mode| {
                let settings = Settings { mode: *mode, steps, window: Some(window) };
                level(settings, &gathered(settings, &rows)).to_string()
            })
            .collect();
        let state = rows.iter().fold(None, |state, row| Some(retention::add(state, steps, row.1).unwrap()));
        let flags = retention::flags(state.unwrap_or(retention::add(None, steps, 0).unwrap()));
        found.push(flags.iter().map(i32::to_string).collect());
        users += 1;
        if found != answers.split(' ').collect::<Vec<_>>() {
            wrong.push(format!("{line}, not {found:?}"));
        }
    }
    (users, wrong)
}

#[test]
fn equals_clickhouse() {
    let (users, wrong) = differences(GOLDEN);
    assert_eq!(users, 2_000);
    assert!(wrong.is_empty(), "{} users differ, the first: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn the_known_faults_are_there() {
    let level = |mode: &str, steps, rows: &[(Micros, u64)]| {
        let settings = Settings { mode: Mode::read(mode.as_bytes()).unwrap(), steps, window: Some(100) };
        level(settings, &gathered(settings, rows))
    };
    // Steps A, A, B: one A counts for both.
    assert_eq!(level("clickhouse_default", 3, &[(1, 0b011), (2, 0b100)]), 3);
    assert_eq!(level("clickhouse_strict_once", 3, &[(1, 0b011), (2, 0b100)]), 1);
    assert_eq!(level("ordered", 3, &[(1, 0b011), (2, 0b100)]), 1);
    // A@1 A@2 B@2, and A0 B1 B2 C2.
    assert_eq!(level("clickhouse_strict_increase", 2, &[(1, 1), (2, 1), (2, 2)]), 1);
    assert_eq!(level("clickhouse_strict_increase", 3, &[(0, 1), (1, 2), (2, 2), (2, 4)]), 2);
    // A X A B C never starts again; A B A C does not break.
    assert_eq!(level("clickhouse_strict_order", 3, &[(1, 1), (2, 0), (3, 1), (4, 2), (5, 4)]), 1);
    assert_eq!(level("clickhouse_strict_order", 3, &[(1, 1), (2, 2), (3, 1), (4, 4)]), 3);
    // A C B C: too early a step ends the one and is passed over by the other.
    assert_eq!(level("clickhouse_strict_order", 3, &[(1, 1), (2, 4), (3, 2), (4, 4)]), 1);
    assert_eq!(level("clickhouse_allow_reentry", 3, &[(1, 1), (2, 4), (3, 2), (4, 4)]), 3);
    // A B B C: the repeat ends it.
    assert_eq!(level("clickhouse_strict_deduplication", 3, &[(1, 1), (2, 2), (3, 2), (4, 4)]), 2);
}

#[test]
fn the_exact_modes_keep_their_promises() {
    let level = |mode: &str, rows: &[(Micros, u64)]| {
        let settings = Settings { mode: Mode::read(mode.as_bytes()).unwrap(), steps: 3, window: Some(100) };
        level(settings, &gathered(settings, rows))
    };
    let (with_miss, with_step) = ([(1, 1), (2, 0), (3, 2), (4, 4)], [(1, 1), (2, 2), (3, 1), (4, 4)]);
    for (mode, miss, step) in [("ordered", 3, 3), ("strict", 1, 2), ("strict_steps", 3, 2), ("unordered", 3, 3)] {
        assert_eq!((level(mode, &with_miss), level(mode, &with_step)), (miss, step), "{mode}");
    }
    // A X A B C: the break is behind the chain.
    assert_eq!(level("strict", &[(1, 1), (2, 0), (3, 1), (4, 2), (5, 4)]), 3);
    assert_eq!(level("unordered", &[(1, 4), (2, 2), (3, 1)]), 3);
    let tied = [(1, 1), (1, 2), (2, 4)];
    for (mode, risen) in [("ordered", 1), ("strict", 1), ("strict_steps", 1)] {
        assert_eq!((level(mode, &tied), level(&format!("{mode}_increasing"), &tied)), (3, risen), "{mode}");
    }
    // What strict_increase of ClickHouse misses.
    assert_eq!(level("ordered_increasing", &[(1, 1), (2, 1), (2, 2)]), 2);
    assert_eq!(level("ordered_increasing", &[(0, 1), (1, 2), (2, 2), (2, 4)]), 3);
}

#[test]
fn names_and_codes_are_one_to_one() {
    for (at, (mode, name)) in NAMES.iter().enumerate() {
        assert_eq!(usize::from(mode.code()), at);
        assert_eq!(Mode::of_code(mode.code()), Some(*mode));
        assert_eq!(mode.name(), *name);
    }
    assert_eq!(Mode::of_code(200), None);
    let error = Mode::read(b"strict_once").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("Write 'clickhouse_strict_once' between conversion_window and time."));
}

#[test]
fn a_million_rows_of_one_user_stay_small_and_linear() {
    for (mode, _) in NAMES {
        let settings = Settings { mode, steps: 3, window: None };
        let rows: Vec<_> = (0..1_000_000).map(|at| (at * 1_000_000, 1 << (at % 2))).collect();
        let bytes = gathered(settings, &rows);
        assert!(bytes.len() <= 1 << 23, "{} bytes", bytes.len());
        assert_eq!(level(settings, &bytes), 2, "{mode:?}");
    }
}

#[test]
fn retention_counts_its_conditions() {
    assert_eq!(retention::flags(retention::add(None, 3, 0b110).unwrap()), [0, 0, 0]);
    assert_eq!(retention::flags(retention::add(None, 3, 0b101).unwrap()), [1, 0, 1]);
    assert_eq!(retention::flags(retention::add(None, 56, u64::MAX).unwrap()), [1; 56]);
    assert!(retention::add(None, 57, 0).is_err());
    assert!(retention::add(None, 0, 0).is_err());
    assert!(retention::add(retention::add(None, 2, 0).ok(), 3, 0).is_err());
    assert!(retention::flags(-1).len() <= 56);
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(NAMES.map(|(mode, _)| mode).to_vec())
}

fn rows() -> impl Strategy<Value = Vec<(Micros, u64)>> {
    prop::collection::vec((prop_oneof![0i64..8, any::<i64>()], 0u64..16), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn a_state_gives_back_its_rows(mode in mode(), rows in prop::collection::vec((any::<i64>(), any::<u64>()), 0..40)) {
        let settings = Settings { mode, steps: 64, window: Some(7) };
        let mut bytes = state::empty(settings);
        for (time, matched) in &rows {
            state::check_same(&bytes, settings).unwrap();
            add(&mut bytes, *time, *matched);
        }
        let read = Rows::read(&bytes).unwrap();
        let mut back = Vec::new();
        read.each_while(|time, matched| {
            back.push((time, matched));
            Ok(true)
        })
        .unwrap();
        prop_assert_eq!(read.in_order(), rows.is_sorted_by_key(|row| row.0));
        prop_assert_eq!(read.settings().unwrap(), settings);
        prop_assert_eq!(back, rows);
    }

    #[test]
    fn any_order_and_any_parts_give_the_same_level(
        mode in mode(), window in prop::option::of(0i64..10), rows in rows(), cut in any::<prop::sample::Index>(),
    ) {
        let settings = Settings { mode, steps: 4, window };
        let mut sorted = rows.clone();
        sorted.sort_by_key(|row| row.0);
        let expected = level(settings, &gathered(settings, &sorted));
        prop_assert_eq!(level(settings, &gathered(settings, &rows)), expected);
        let cut = cut.index(rows.len() + 1);
        let mut whole = gathered(settings, &rows[..cut]);
        let part = gathered(settings, &rows[cut..]);
        let part = Rows::read(&part).unwrap();
        whole = state::grown(&whole, part.used().len()).unwrap();
        state::append(&mut whole, part).unwrap();
        prop_assert_eq!(level(settings, &whole), expected);
        add(&mut whole, 3, 1);
        prop_assert!(Rows::read(&whole).is_ok());
    }

    #[test]
    fn where_no_row_matches_two_steps_the_default_is_exact(
        window in prop::option::of(0i64..10), rows in prop::collection::vec((0i64..8, 0u32..4), 0..16),
    ) {
        let rows: Vec<_> = rows.into_iter().map(|(time, step)| (time, 1 << step)).collect();
        let [one, other] = [Mode::ClickhouseDefault, Mode::Ordered].map(|mode| {
            let settings = Settings { mode, steps: 4, window };
            level(settings, &gathered(settings, &rows))
        });
        prop_assert_eq!(one, other);
    }

    #[test]
    fn any_bytes_give_rows_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80), used in 0u32..100, mode in 0u8..20, steps in 0u8..70,
    ) {
        if bytes.len() >= 8 {
            bytes[..4].copy_from_slice(&used.to_ne_bytes());
            bytes[4..7].copy_from_slice(&[1, mode, steps]);
        }
        if let Ok(rows) = Rows::read(&bytes) {
            let _ = rows.each_while(|_, _| Ok(true));
            if let Ok(Settings { mode, steps, .. }) = rows.settings() {
                let _ = Levels::new(mode, steps, None).level(rows, &mut || ());
            }
            let mut to = state::empty(Settings { mode: Mode::Ordered, steps: 2, window: None });
            to.resize(400, 0);
            let _ = state::append(&mut to, rows);
        }
        let _ = state::push(&mut bytes, 1, 1);
        let _ = state::grown(&bytes, 3);
    }
}
