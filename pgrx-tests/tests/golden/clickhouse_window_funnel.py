"""Writes clickhouse_window_funnel.txt: small random users and what ClickHouse's windowFunnel and retention say of them.

pip install chdb==4.4.0, then: python clickhouse_window_funnel.py [users] [seed] > clickhouse_window_funnel.txt
"""

import random
import sys
from collections import defaultdict

import chdb

OPTIONS = ["", ", 'strict_order'", ", 'strict_deduplication'", ", 'strict_increase'",
           ", 'strict_order', 'allow_reentry'", ", 'strict_once'"]
WINDOWS = [0, 1, 2, 3, 4, 6, 10, 1000]


def user(rng):
    """(steps, window, rows): rows are (time, mask of conditions) in any order, with ties and several conditions a row."""
    steps = rng.choice([1, 2, 2, 3, 3, 3, 4, 4, 5])
    span = rng.choice([1, 3, 6, 6, 12])
    several, nothing = rng.choice([0.0, 0.2, 0.6]), rng.choice([0.0, 0.1, 0.3])
    rows = []
    for _ in range(rng.randint(0 if rng.random() < 0.05 else 2, 11)):
        mask = 0
        if rng.random() >= nothing:
            mask = 1 << rng.randrange(steps)
            while rng.random() < several:
                mask |= 1 << rng.randrange(steps)
        rows.append((rng.randint(0, span), mask))
    kind = rng.random()
    if kind < 0.4:
        rows.sort(key=lambda row: row[0])
    elif kind < 0.5:
        rows.sort()
    return steps, rng.choice(WINDOWS), rows


def answers(users):
    """One line of answers for each user: the six modes, then the flags of retention."""
    found, groups = {}, defaultdict(list)
    for number, (steps, window, rows) in enumerate(users):
        if rows:
            groups[steps, window].append((number, rows))
        else:
            found[number] = [0] * len(OPTIONS) + ["0" * steps]
    for (steps, window), members in groups.items():
        values = ",".join(f"({n},{t},{m})" for n, rows in members for t, m in rows)
        conditions = ", ".join(f"bitTest(m, {i})" for i in range(steps))
        calls = ", ".join(f"windowFunnel({window}{o})(t, {conditions})" for o in OPTIONS)
        flags = f"arrayStringConcat(retention({conditions}))" if steps > 1 else "toString(max(bitTest(m, 0)))"
        sql = (f"SELECT n, {calls}, {flags} FROM values('n UInt32, t UInt64, m UInt64', {values}) GROUP BY n "
               "SETTINGS max_threads = 1, max_query_size = 100000000")
        for line in str(chdb.query(sql, "TSV")).splitlines():
            cells = line.split("\t")
            found[int(cells[0])] = cells[1:]
    return [found[number] for number in range(len(users))]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 26)
    users = [user(rng) for _ in range(count)]
    print(f"# ClickHouse {str(chdb.query('SELECT version()', 'TSV')).strip()}; steps window time:conditions… = default "
          "strict_order strict_deduplication strict_increase allow_reentry strict_once retention")
    for (steps, window, rows), cells in zip(users, answers(users)):
        print(steps, window, *(f"{t}:{m}" for t, m in rows), "=", *cells)


main()
