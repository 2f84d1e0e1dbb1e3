"""Funnels in DuckDB's SQL with one thread. Arguments: a CSV file of user, seconds, name; steps; runs."""

import sys

import duckdb

from clock import measure

file, steps, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
names = ", ".join(f"'e{step}'" for step in range(steps))
duck = duckdb.connect()
duck.execute("SET threads = 1")
duck.execute(
    f"CREATE TABLE e AS SELECT u, t, name FROM read_csv('{file}', header = false,"
    " columns = {'u': 'UINTEGER', 't': 'BIGINT', 'name': 'VARCHAR'}) ORDER BY u, t"
)

# For each step the latest entry that has reached it: a running maximum over the one before.
sql = f"SELECT *, max(CASE WHEN name = 'e0' THEN t END) OVER w AS s1 FROM e WHERE name IN ({names}) WINDOW w AS (PARTITION BY u ORDER BY t)"
for step in range(1, steps):
    sql = (
        f"SELECT *, max(CASE WHEN name = 'e{step}' AND t - s{step} <= 21600 THEN s{step} END) OVER w AS s{step + 1}"
        f" FROM ({sql}) WINDOW w AS (PARTITION BY u ORDER BY t)"
    )
level = " ".join(f"WHEN s{step} IS NOT NULL THEN {step}" for step in range(steps, 0, -1))
maxima = f"SELECT level, count(*) FROM (SELECT u, max(CASE {level} ELSE 0 END) AS level FROM ({sql}) GROUP BY u) GROUP BY level"

# The same by ASOF joins: of the events that reached the step before, the last one has the latest entry.
parts = ["s1 AS (SELECT u, t, t AS entry FROM e WHERE name = 'e0')"]
for step in range(1, steps):
    parts.append(
        f"s{step + 1} AS (SELECT e.u, e.t, s.entry FROM e ASOF JOIN s{step} AS s ON e.u = s.u AND e.t >= s.t"
        f" WHERE e.name = 'e{step}' AND e.t - s.entry <= 21600)"
    )
union = " UNION ALL ".join(f"SELECT DISTINCT u, {step} AS level FROM s{step}" for step in range(1, steps + 1))
asof = f"WITH {', '.join(parts)} SELECT level, count(*) FROM (SELECT u, max(level) AS level FROM ({union}) GROUP BY u) GROUP BY level"

measure(
    [
        ("DuckDB, ASOF joins", "the latest entry for each step", lambda: duck.execute(asof).fetchall()),
        ("DuckDB, window functions", "running maxima", lambda: duck.execute(maxima).fetchall()),
    ],
    runs,
)
