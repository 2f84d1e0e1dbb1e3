//! Names: quoted for a statement, derived for a partition, cut on bytes so that they fit.

/// The longest name that the server keeps whole, in bytes.
pub const LONGEST: usize = 63;

/// The name as a quoted identifier. Always quoted, so that no list of reserved words is needed. O(n).
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The schema-qualified, quoted name. O(n).
#[must_use]
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// The text as a literal that reads the same whatever `standard_conforming_strings` says. O(n).
#[must_use]
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// `base` and `suffix` joined by `_` in at most 63 bytes: the base is cut between two characters, the suffix is kept. O(n).
#[must_use]
pub fn suffixed(base: &str, suffix: &str) -> String {
    let mut room = LONGEST.saturating_sub(suffix.len() + 1).min(base.len());
    while !base.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}_{suffix}", &base[..room])
}

/// As [`suffixed`], but never one of the `taken` names: a number goes between when the cut makes two names one. O(n) per name taken.
#[must_use]
pub fn suffixed_apart(base: &str, suffix: &str, taken: &[String]) -> String {
    let mut name = suffixed(base, suffix);
    let mut number = 1_u32;
    while taken.contains(&name) {
        number += 1;
        name = suffixed(base, &format!("{number}_{suffix}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_are_quoted() {
        assert_eq!(identifier("we\"ird.Table %I"), "\"we\"\"ird.Table %I\"");
        assert_eq!(qualified("a\"b", "c.d"), "\"a\"\"b\".\"c.d\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }

    #[test]
    fn cut_names_stay_apart() {
        let long = "x".repeat(63);
        let first = suffixed(&long, "20240101");
        let second = suffixed_apart(&format!("{long}y"), "20240101", std::slice::from_ref(&first));
        assert_ne!(first, second);
        assert!(second.len() <= LONGEST && second.ends_with("_2_20240101"));
    }

    proptest! {
        #[test]
        fn a_name_fits_and_keeps_its_suffix(base in "\\PC{1,63}") {
            let name = suffixed(&base, "20240101");
            prop_assert!(name.len() <= LONGEST);
            prop_assert!(name.ends_with("_20240101"));
            let kept = name.strip_suffix("_20240101").unwrap();
            prop_assert!(base.starts_with(kept));
            // Nothing is cut that had room, up to the width of one character.
            prop_assert!(kept.len() == base.len() || kept.len() + 3 >= LONGEST - 9);
        }

        #[test]
        fn a_quoted_name_reads_back(name in "\\PC{1,63}") {
            let text = identifier(&name);
            let inner = text.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            prop_assert_eq!(inner.replace("\"\"", "\""), name);
        }
    }
}
