"""windowFunnel of ClickHouse (chdb) with one thread. Arguments: a CSV file of user, seconds, name; steps; runs."""

import sys
import tempfile

from chdb import session

from clock import measure

file, steps, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
conditions = ", ".join(f"name = 'e{step}'" for step in range(steps))
names = ", ".join(f"'e{step}'" for step in range(steps))

with tempfile.TemporaryDirectory() as folder:
    clickhouse = session.Session(folder)
    clickhouse.query("CREATE DATABASE bench ENGINE = Atomic")
    columns = "(u UInt32, t DateTime, name String)"
    clickhouse.query(f"CREATE TABLE bench.e {columns} ENGINE = MergeTree ORDER BY (u, t)")
    clickhouse.query(f"INSERT INTO bench.e SELECT * FROM file('{file}', 'CSV', 'u UInt32, t DateTime, name String')")
    clickhouse.query("OPTIMIZE TABLE bench.e FINAL")

    def contender(where, settings):
        sql = f"""SELECT level, count() FROM (
            SELECT u, windowFunnel(21600)(t, {conditions}) AS level FROM bench.e {where} GROUP BY u
        ) GROUP BY level FORMAT TSV SETTINGS max_threads = 1{settings}"""

        def run():
            return [line.split("\t") for line in str(clickhouse.query(sql)).splitlines()]

        return run

    in_order = ", optimize_aggregation_in_order = 1"
    measure(
        [
            ("ClickHouse", "windowFunnel, MergeTree by user and time", contender("", "")),
            ("ClickHouse, in order", "optimize_aggregation_in_order", contender("", in_order)),
            (
                "ClickHouse, in order, steps only",
                "and WHERE name IN (steps)",
                contender(f"WHERE name IN ({names})", in_order),
            ),
        ],
        runs,
    )
    clickhouse.close()
