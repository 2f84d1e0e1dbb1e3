//! Plans that a test carries out by hand.

use super::lines;
use eventkit_tests::Session;

/// Runs the statements that a query gives, those before each COMMIT in one block; what is behind the last COMMIT runs at the end.
pub fn run_by_hand(session: &Session, plan: &str) {
    let statements = lines(session, plan);
    let phases: Vec<&[String]> = statements.split(|statement| statement == "COMMIT").collect();
    let (rest, blocks) = phases.split_last().unwrap();
    for block in blocks {
        session.query(&format!("BEGIN; {}; COMMIT", block.join(";"))).unwrap();
    }
    session.query(&rest.join(";")).unwrap();
}
