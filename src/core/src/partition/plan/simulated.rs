//! Plans that move rows, carried out on a model of the server that knows tables, bounds and rows, while others write and calls are stopped:
//! no row is lost or doubled, every part holds its own, and the locks come first.

use super::convert::{Dependents, Told, convert};
use super::copies::Storage;
use super::split::{Part, Standing, split};
use super::tests::parent as plain_parent;
use super::unpartition::{Left, unpartition};
use super::*;
use crate::partition::key::{KeyType, KeyUnit};
use crate::partition::name::{identifier, literal};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A piece of a statement: a name as it is quoted, a text without its quotes, any other word.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Word(String),
}

fn tokens(statement: &str) -> Vec<Token> {
    let (chars, mut found, mut at): (Vec<char>, Vec<Token>, usize) = (statement.chars().collect(), Vec::new(), 0);
    // Up to the closing quote, a doubled one being a part of it.
    let quoted = |mut at: usize, quote: char| -> (String, usize) {
        let mut text = String::new();
        loop {
            match (chars.get(at), chars.get(at + 1)) {
                (Some(c), Some(next)) if *c == quote && *next == quote => at += 1,
                (Some(c), _) if *c == quote => return (text, at + 1),
                (None, _) => panic!("a quote is not closed: {statement}"),
                _ => {}
            }
            text.push(chars[at]);
            at += 1;
        }
    };
    while let Some(&c) = chars.get(at) {
        match c {
            ' ' => at += 1,
            '$' => {
                let rest: String = chars[at..].iter().collect();
                let tag = &rest[..=rest[1..].find('$').unwrap() + 1];
                at += tag.len() + rest[tag.len()..].find(tag).unwrap() + tag.len();
            }
            '"' => {
                let mut name = String::new();
                loop {
                    let (part, end) = quoted(at + 1, '"');
                    name += &identifier(&part);
                    at = end;
                    if chars.get(at) == Some(&'.') && chars.get(at + 1) == Some(&'"') {
                        name.push('.');
                        at += 1;
                    } else {
                        break;
                    }
                }
                found.push(Token::Name(name));
            }
            '\'' => {
                let (text, end) = quoted(at + 1, '\'');
                at = end;
                found.push(Token::Text(text));
            }
            '(' | ')' | ',' => {
                found.push(Token::Word(c.into()));
                at += 1;
            }
            _ => {
                let end = (at..chars.len()).find(|i| " \"'(),".contains(chars[*i])).unwrap_or(chars.len());
                found.push(Token::Word(chars[at..end].iter().collect()));
                at = end;
            }
        }
    }
    found
}

/// The range that comparisons in a statement tell.
fn range(tokens: &[Token]) -> Bound {
    let limit = |operator: &str, none: i64| {
        let at = tokens.iter().position(|t| *t == Token::Word(format!("pg_catalog.{operator}")));
        at.map_or(none, |at| {
            let text = tokens[at..].iter().find_map(|t| if let Token::Text(text) = t { Some(text) } else { None });
            text.unwrap().parse().unwrap()
        })
    };
    Bound { from: limit(">=", i64::MIN), to: limit("<", i64::MAX) }
}

type Row = (i64, u32);

fn inside(bound: Bound, key: i64) -> bool {
    bound.from <= key && key < bound.to
}

#[derive(Clone, Debug, Default)]
struct Table {
    rows: Vec<Row>,
    partitioned: bool,
    /// The parent and the place in it.
    place: Option<(String, Bound)>,
    /// The CHECK of the bound, and whether it is proved.
    check: Option<(Bound, bool)>,
}

#[derive(Clone, Debug)]
enum Write {
    Insert(i64),
    Delete(prop::sample::Index),
    Move(prop::sample::Index, i64),
}

#[derive(Clone, Debug, Default)]
struct Model {
    tables: BTreeMap<String, Table>,
    /// Under this name clients write and read.
    name: String,
    captured: Option<String>,
    log: Vec<(bool, Row)>,
    wanted: BTreeSet<Row>,
    next: u32,
}

impl Model {
    /// The table that holds a key under the clients' name.
    fn home(&self, key: i64) -> String {
        if !self.tables[&self.name].partitioned {
            return self.name.clone();
        }
        let mut homes = self.tables.iter().filter(|(_, table)| {
            table.place.as_ref().is_some_and(|(parent, bound)| *parent == self.name && inside(*bound, key))
        });
        let home = homes.next().unwrap_or_else(|| panic!("{key} has no partition")).0.clone();
        assert!(homes.next().is_none(), "{key} has two partitions");
        home
    }

    fn note(&mut self, home: &str, added: bool, row: Row) {
        if self.captured.as_deref() == Some(home) || self.captured.as_deref() == Some(self.name.as_str()) {
            self.log.push((added, row));
        }
    }

    fn write(&mut self, write: &Write) {
        let at = |index: &prop::sample::Index, rows: &BTreeSet<Row>| rows.iter().nth(index.index(rows.len())).copied();
        let (old, new) = match write {
            Write::Insert(key) => (None, Some(*key)),
            _ if self.wanted.is_empty() => return,
            Write::Delete(index) => (at(index, &self.wanted), None),
            Write::Move(index, key) => (at(index, &self.wanted), Some(*key)),
        };
        if let Some(row) = old {
            let home = self.home(row.0);
            let rows = &mut self.tables.get_mut(&home).unwrap().rows;
            rows.remove(rows.iter().position(|r| *r == row).unwrap());
            self.wanted.remove(&row);
            self.note(&home, false, row);
        }
        if let Some(key) = new {
            self.next += 1;
            let (row, home) = ((key, self.next), self.home(key));
            let table = self.tables.get_mut(&home).unwrap();
            assert!(table.check.is_none_or(|(bound, _)| inside(bound, key)));
            table.rows.push(row);
            self.wanted.insert(row);
            self.note(&home, true, row);
        }
    }

    /// All rows of a table, or of its partitions.
    fn rows(&self, name: &str) -> Vec<Row> {
        let of = |table: &Table| table.place.as_ref().is_some_and(|(parent, _)| parent == name);
        let below = self.tables.values().filter(|t| of(t)).flat_map(|t| t.rows.iter().copied());
        self.tables[name].rows.iter().copied().chain(below).collect()
    }

    /// Carries out one statement. What `before` shows is what the transaction sees of others.
    fn run(&mut self, statement: &str, before: &Self) {
        let all = tokens(statement);
        let words: Vec<&str> = all.iter().map(|t| if let Token::Word(w) = t { w.as_str() } else { "" }).collect();
        let names: Vec<&String> =
            all.iter().filter_map(|t| if let Token::Name(n) = t { Some(n) } else { None }).collect();
        let texts: Vec<&String> =
            all.iter().filter_map(|t| if let Token::Text(n) = t { Some(n) } else { None }).collect();
        let has = |word: &str| words.contains(&word);
        match (words[0], words.get(1).copied().unwrap_or("")) {
            ("CREATE", "TABLE") => {
                let check = has("CHECK").then(|| (range(&all), true));
                let table = Table { check, partitioned: has("PARTITION"), ..Table::default() };
                // The parent that takes the name has the CHECK of the old table by LIKE.
                let check = if table.partitioned { self.tables[names[1]].check } else { table.check };
                assert!(self.tables.insert(names[0].clone(), Table { check, ..table }).is_none(), "{statement}");
            }
            ("CREATE", "TRIGGER") => {
                if names.is_empty() || has("ROW") {
                    self.captured = Some(names[0].clone());
                }
            }
            ("INSERT", "INTO") => {
                let source = names.iter().skip(1).find(|name| name.contains("\".\"")).unwrap();
                let bound = range(&all);
                let rows = before.rows(source).into_iter().filter(|(key, _)| inside(bound, *key));
                let rows: Vec<Row> = rows.collect();
                let into = self.tables.get_mut(names[0]).unwrap();
                assert!(into.check.is_none_or(|(bound, _)| rows.iter().all(|(key, _)| inside(bound, *key))));
                into.rows.extend(rows);
            }
            ("SELECT", "eventkit.copy_rows") => {
                let (into, query) = (texts[0], texts[texts.len() - 1]);
                self.run(&format!("INSERT INTO {into} {query}"), before);
            }
            ("DELETE", "FROM") => {
                let (bound, seen, mut at) = (range(&all), before.log.len(), 0);
                self.log.retain(|(_, (key, _))| {
                    at += 1;
                    at > seen || !inside(bound, *key)
                });
            }
            ("SELECT", "eventkit.apply_captured") => {
                let bound = range(&tokens(texts[3]));
                let (now, later): (Vec<_>, Vec<_>) = self.log.drain(..).partition(|(_, (key, _))| inside(bound, *key));
                self.log = later;
                let rows = &mut self.tables.get_mut(texts[1]).unwrap().rows;
                for (added, row) in now {
                    let at = rows.iter().position(|r| *r == row);
                    if added {
                        rows.push(row)
                    } else {
                        let _ = rows.remove(at.unwrap_or_else(|| panic!("{row:?}")));
                    }
                }
            }
            ("SELECT", "eventkit.expect_copied") => {
                let bound = range(&tokens(texts[4]));
                let captured: i64 = self
                    .log
                    .iter()
                    .filter(|(_, (key, _))| inside(bound, *key))
                    .map(|(added, _)| if *added { 1 } else { -1 })
                    .sum();
                let there = self.rows(texts[0]).iter().filter(|(key, _)| inside(bound, *key)).count();
                assert_eq!(there as i64, self.tables[texts[1]].rows.len() as i64 + captured, "{statement}");
            }
            ("ALTER", "TABLE") if has("ATTACH") => {
                let limit = |word: &str, none: &str, end: i64| {
                    let at = words.iter().position(|w| *w == word).unwrap() + 2;
                    if words[at] == none {
                        return end;
                    }
                    let Token::Text(text) = &all[at] else { panic!("{statement}") };
                    text.parse().unwrap()
                };
                let bound = Bound { from: limit("FROM", "MINVALUE", i64::MIN), to: limit("TO", "MAXVALUE", i64::MAX) };
                for table in self.tables.values() {
                    assert!(
                        table.place.as_ref().is_none_or(|(p, b)| p != names[0] || !b.overlaps(bound)),
                        "{statement}"
                    );
                }
                let child = self.tables.get_mut(names[1]).unwrap();
                assert_eq!(child.check, Some((bound, true)), "the CHECK proves the bound: {statement}");
                child.place = Some((names[0].clone(), bound));
            }
            ("ALTER", "TABLE") if has("DETACH") => {
                assert!(self.tables.get_mut(names[1]).unwrap().place.take().is_some(), "{statement}");
            }
            ("ALTER", "TABLE") if has("RENAME") => {
                let schema = names[0].split("\".\"").next().unwrap();
                let (table, new) = (self.tables.remove(names[0]).unwrap(), format!("{schema}\".{}", names[1]));
                for other in self.tables.values_mut() {
                    if let Some((parent, _)) = &mut other.place
                        && parent == names[0]
                    {
                        parent.clone_from(&new);
                    }
                }
                assert!(self.tables.insert(new, table).is_none(), "{statement}");
            }
            ("ALTER", "TABLE") if has("CONSTRAINT") => {
                assert_eq!(names[1], "\"partition_bound\"", "{statement}");
                let table = self.tables.get_mut(names[0]).unwrap();
                let of_rows = |bound: Bound| table.rows.iter().all(|(key, _)| inside(bound, *key));
                table.check = match (has("ADD"), table.check) {
                    (true, None) => Some((range(&all), false)),
                    (false, Some((bound, _))) if has("VALIDATE") => Some((bound, of_rows(bound))),
                    (false, Some(_)) if has("DROP") => None,
                    _ => panic!("{statement}"),
                };
            }
            ("DROP", "TABLE") => drop(self.tables.remove(names[0]).unwrap_or_else(|| assert_none(has("EXISTS")))),
            ("DROP", "TRIGGER") => self.captured = None,
            ("LOCK", "TABLE") => assert!(self.tables.contains_key(names[0]), "{statement}"),
            ("SET", "TRANSACTION")
            | (
                "SELECT",
                "eventkit.expect_captured"
                | "eventkit.expect_structure"
                | "eventkit.expect_partitions"
                | "guard"
                | "pg_catalog.count",
            )
            | ("CREATE" | "DROP", "FUNCTION")
            | ("COMMENT", "ON")
            | ("ANALYZE" | "CALL", _) => {}
            ("ALTER", "TABLE") if has("TRIGGER") => {}
            _ => panic!("unknown: {statement}"),
        }
    }

    /// Carries out a plan transaction by transaction while others write; stops behind so many of them.
    fn carry_out(&mut self, steps: &[Step], writes: &mut impl Iterator<Item = Write>, most: usize) {
        let statements: Vec<&str> = steps.iter().map(|s| s.statement.as_deref().unwrap()).collect();
        for transaction in statements.split(|s| *s == "COMMIT").take(most) {
            let before = self.clone();
            let alone = transaction.iter().any(|s| s.contains("DETACH PARTITION") || s.contains("RENAME TO"));
            let locks = transaction.iter().take_while(|s| s.starts_with("LOCK TABLE ")).count();
            assert!(
                transaction.iter().skip(locks).all(|s| !s.starts_with("LOCK TABLE ")),
                "locks come first: {transaction:#?}"
            );
            if alone {
                // Nobody else is at work between its locks and its end.
                for wanted in [Some(&self.name), self.captured.as_ref()].into_iter().flatten() {
                    let named = |s: &&&str| {
                        tokens(s).contains(&Token::Name(wanted.clone())) && s.ends_with("ACCESS EXCLUSIVE MODE")
                    };
                    assert!(transaction[..locks].iter().any(|s| named(&s)), "{wanted} is locked: {transaction:#?}");
                }
            } else {
                self.others(writes);
            }
            // A trigger waits for those who write: what was written before it is seen by all later snapshots.
            for statement in transaction {
                self.run(statement, &before);
            }
            self.others(writes);
            assert_eq!(self.rows(&self.name).len(), self.wanted.len());
            assert_eq!(self.rows(&self.name).into_iter().collect::<BTreeSet<_>>(), self.wanted);
        }
    }

    fn others(&mut self, writes: &mut impl Iterator<Item = Write>) {
        for write in writes.by_ref().take(3) {
            self.write(&write);
        }
    }
}

fn assert_none(allowed: bool) -> Table {
    assert!(allowed);
    Table::default()
}

const SCHEMA: &str = "s\"ch.em'a";
const NAME: &str = "e\" FROM 'x";

fn parent() -> Parent {
    let mut parent = plain_parent(SCHEMA, NAME, KeyType::Bigint);
    parent.key = Some(Key { column: "a\" t'".into(), key_type: KeyType::Bigint, unit: Some(KeyUnit::Us) });
    parent
}

fn dependents() -> Dependents {
    Dependents {
        refusals: vec![],
        partitioned: true,
        access_method: None,
        key: None,
        bound_left: false,
        taken: vec![],
        indexes: vec![],
        foreign_keys: vec![],
        partitions: vec![],
        referencing: vec![],
        triggers: vec![],
        views: vec![],
        functions: vec![],
        policies: vec![],
        policy_comments: vec![],
        sequences: vec![],
        statistics: vec![],
    }
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let key = || 0..1000_i64;
    let one = prop_oneof![
        key().prop_map(Write::Insert),
        any::<prop::sample::Index>().prop_map(Write::Delete),
        (any::<prop::sample::Index>(), key()).prop_map(|(index, key)| Write::Move(index, key)),
    ];
    prop::collection::vec(one, 0..120)
}

/// A model of a table with a wide partition below `wide_to` and one above.
fn model(keys: &[i64], partitioned: Option<i64>) -> Model {
    let name = qualified(SCHEMA, NAME);
    let mut model = Model { name: name.clone(), ..Model::default() };
    model.tables.insert(name.clone(), Table { partitioned: partitioned.is_some(), ..Table::default() });
    if let Some(to) = partitioned {
        let mut add = |part: &str, bound| {
            let place = Some((name.clone(), bound));
            model.tables.insert(qualified(SCHEMA, part), Table { place, ..Table::default() });
        };
        add("wi\"de", Bound { from: i64::MIN, to });
        add("above", Bound { from: to, to: i64::MAX });
    }
    for key in keys {
        model.write(&Write::Insert(*key));
    }
    model
}

proptest! {
    #[test]
    fn a_split_keeps_every_row_whenever_it_is_stopped(
        keys in prop::collection::vec(0..1000_i64, 0..40), cuts in prop::collection::btree_set(1..900_i64, 1..6),
        writes in writes(), stops in prop::collection::vec(1..12_usize, 0..3),
    ) {
        let (parent, mut writes) = (parent(), writes.into_iter());
        let (key, wide) = (parent.key.clone().unwrap(), partition(SCHEMA, "wi\"de", Bound { from: i64::MIN, to: 900 }));
        let mut model = model(&keys, Some(900));
        let mut ends: Vec<i64> = cuts.into_iter().collect();
        ends.push(900);
        let mut stops = stops.into_iter();
        loop {
            let captured = model.captured.is_some();
            let (mut from, mut parts) = (i64::MIN, Vec::new());
            for to in &ends {
                let name = format!("part'{to}");
                let filled = captured && model.tables.contains_key(&qualified(SCHEMA, &name));
                parts.push(Part { digits: to.to_string(), name, bound: Bound { from, to: *to }, filled });
                from = *to;
            }
            let standing = Standing { captured, ..Standing::default() };
            let steps = split(&parent, &dependents(), &key, &wide, &parts, &standing).unwrap();
            let stop = stops.next().filter(|stop| *stop < 3 * parts.len());
            model.carry_out(&steps, &mut writes, stop.unwrap_or(usize::MAX));
            if stop.is_none() || !model.tables.contains_key(&wide.qualified()) {
                break;
            }
        }
        let mut left: Vec<&String> = model.tables.keys().collect();
        let mut wanted: Vec<String> = ends.iter().map(|to| qualified(SCHEMA, &format!("part'{to}"))).collect();
        wanted.extend([qualified(SCHEMA, "above"), model.name.clone()]);
        left.sort();
        wanted.sort();
        prop_assert_eq!(left, wanted.iter().collect::<Vec<_>>());
        for table in model.tables.values() {
            prop_assert!(table.place.as_ref().is_none_or(|(_, bound)| table.rows.iter().all(|(key, _)| inside(*bound, *key))));
            prop_assert_eq!(table.check, None);
        }
    }

    #[test]
    fn the_way_back_keeps_every_row_whenever_it_is_stopped(
        keys in prop::collection::vec(0..1000_i64, 0..40), writes in writes(), stops in prop::collection::vec(1..5_usize, 0..3),
    ) {
        let (parent, mut writes, mut model) = (parent(), writes.into_iter(), model(&keys, Some(500)));
        let key = parent.key.clone().unwrap();
        let mut stops = stops.into_iter();
        loop {
            let found = |name: String| model.tables.contains_key(&name).then_some(name);
            let left = Left {
                captured: model.captured.is_some(),
                log: found(qualified(SCHEMA, &unpartition::log_name(&parent))),
                function: model.captured.is_some().then(|| format!("{}()", split::capture_of(SCHEMA, NAME))),
                plain: found(qualified(SCHEMA, &unpartition::plain_name(&parent))),
            };
            let steps = unpartition(&parent, &dependents(), &key, ("SELECT guard", "{}"), &left, &Storage::default()).unwrap();
            let exchange = steps.iter().filter(|s| s.statement.as_deref() == Some("COMMIT")).count();
            let stop = stops.next().filter(|stop| *stop + 2 < exchange);
            model.carry_out(&steps, &mut writes, stop.unwrap_or(usize::MAX));
            if stop.is_none() {
                break;
            }
        }
        // The partitions go with the parent, which is dropped.
        model.tables.retain(|_, table| table.place.is_none());
        prop_assert_eq!(model.tables.keys().collect::<Vec<_>>(), [&model.name]);
        prop_assert!(!model.tables[&model.name].partitioned);
    }

    #[test]
    fn a_conversion_keeps_every_row_where_it_lies(keys in prop::collection::vec(0..1000_i64, 0..40), writes in writes()) {
        let (mut parent, mut writes, mut model) = (parent(), writes.into_iter(), model(&keys, None));
        let key = parent.key.take().unwrap();
        let bound = Bound { from: i64::MIN, to: 1000 };
        let found = Dependents { partitioned: false, ..dependents() };
        let manage = convert::manage_call(&parent, &[("time_zone", Some(literal("it's")))]);
        let steps = convert(&parent, &found, Told { key: &key, bound, guard: "SELECT guard", manage: &manage }).unwrap();
        model.carry_out(&steps, &mut writes, usize::MAX);
        prop_assert!(!steps.iter().any(|s| s.statement.as_deref().unwrap().starts_with("INSERT")));
        prop_assert_eq!(model.tables.len(), 2);
        prop_assert!(model.tables[&model.name].partitioned && model.tables[&model.name].check.is_none());
        prop_assert!(tokens(&manage).contains(&Token::Text("it's".to_owned())));
    }
}

fn partition(schema: &str, name: &str, bound: Bound) -> Partition {
    Partition { schema: schema.into(), name: name.into(), bound, odd: false }
}
