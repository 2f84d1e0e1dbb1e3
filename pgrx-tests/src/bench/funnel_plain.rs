//! How funnels are computed without the extension: the best that PL/pgSQL and plain SQL can do.
//!
//! All of them are exact where a user's times and the steps' names are distinct: for each step they keep the latest entry
//! that has reached it.

use std::fmt::Write;

use super::funnel_data::{Form, names};

/// A function `loop_funnel(events)`: one pass over the array in its order, in local variables. Of the ways to write it
/// this one was the fastest: one test for all steps, the time read only where it matters, an end as soon as the last step
/// is reached.
pub fn loop_function(form: Form, steps: usize) -> String {
    let (element, get) = (form.element(), form.get());
    let (mut variables, mut branches) = (String::new(), String::new());
    for step in 1..steps {
        // Writing into a String does not fail.
        let _ = write!(variables, " entry_{step} timestamp; until_{step} timestamp;");
    }
    for step in (1..steps).rev() {
        let reached = if step + 1 == steps {
            format!("RETURN {steps};")
        } else {
            format!("entry_{0} := entry_{step}; until_{0} := until_{step};", step + 1)
        };
        let word = if step + 1 == steps { "IF" } else { "ELSIF" };
        let _ = write!(
            branches,
            " {word} name = 'e{step}' THEN IF (event {get} 'time')::timestamp <= until_{step} THEN {reached} END IF;"
        );
    }
    let level = (1..steps).rev().map(|step| format!(" WHEN entry_{step} IS NOT NULL THEN {step}")).collect::<String>();
    format!(
        "CREATE FUNCTION loop_funnel(events {element}[]) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
         DECLARE event {element}; name text;{variables}
         BEGIN
             FOREACH event IN ARRAY events LOOP
                 name := event {get} 'event';
                 IF name = ANY (ARRAY[{}]) THEN
                     IF name = 'e0' THEN entry_1 := event {get} 'time'; until_1 := entry_1 + '6 hours';
                     ELSIF entry_1 IS NOT NULL THEN{branches} END IF;
                     END IF;
                 END IF;
             END LOOP;
             RETURN CASE{level} ELSE 0 END;
         END $$",
        names(steps)
    )
}

/// Running maxima over `source` (`user_id`, `name`, `at`), one on top of the other, and the level of `scope`.
fn maxima(source: &str, steps: usize, over: &str, keys: &str, group: &str) -> String {
    let mut sql = format!("SELECT *, max(CASE WHEN name = 'e0' THEN at END) {over} AS entry_1 FROM {source}");
    let mut level = "WHEN entry_1 IS NOT NULL THEN 1".to_owned();
    for step in 1..steps {
        sql = format!(
            "SELECT *, max(CASE WHEN name = 'e{step}' AND at - entry_{step} <= interval '6 hours' THEN entry_{step} END) {over} \
             AS entry_{} FROM ({sql}) AS s{step}",
            step + 1
        );
        level = format!("WHEN entry_{} IS NOT NULL THEN {} {level}", step + 1, step + 1);
    }
    format!("SELECT {keys}max(CASE {level} ELSE 0 END) AS level FROM ({sql}) AS s {group}")
}

/// The level of each user that has a row in `source` (`user_id`, `name`, `at`): one sort of all, then running maxima.
pub fn one_sort(source: &str, steps: usize) -> String {
    maxima(source, steps, "OVER (PARTITION BY user_id ORDER BY at)", "user_id, ", "GROUP BY user_id")
}

/// The events of the steps that the array of each row of `u` has.
fn unnested(form: Form, steps: usize, from: &str, keys: &str) -> String {
    let get = form.get();
    // OFFSET 0 keeps the server from reading name and time anew wherever they stand.
    format!(
        "(SELECT {keys}event {get} 'event' AS name, (event {get} 'time')::timestamp AS at FROM {from} AS event \
         WHERE event {get} 'event' IN ({}) OFFSET 0) AS steps",
        names(steps)
    )
}

/// The level of each user of `u` by one sort; users without a step are left out.
pub fn arrays_one_sort(form: Form, steps: usize) -> String {
    one_sort(&unnested(form, steps, "u, unnest(events)", "user_id, "), steps)
}

/// The level of each user of `u`, each by itself, in the array's order: no sort at all.
pub fn arrays_lateral(form: Form, steps: usize) -> String {
    let each = maxima(&unnested(form, steps, "unnest(events)", ""), steps, "OVER (ROWS UNBOUNDED PRECEDING)", "", "");
    format!("SELECT user_id, coalesce(level, 0) AS level FROM u, LATERAL ({each}) AS l")
}
