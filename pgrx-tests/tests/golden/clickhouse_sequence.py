"""Writes clickhouse_sequence.txt: small random users and what ClickHouse's sequenceMatch, sequenceCount and
sequenceMatchEvents say of them.

pip install chdb==4.4.0, then: python clickhouse_sequence.py [patterns] [users of each] [seed] > clickhouse_sequence.txt
"""

import random
import sys

import chdb


def pattern(rng, conditions):
    """A random pattern: mostly conditions, with stars, dots and comparisons of times between, before and behind."""
    parts, after_time = [], False
    for _ in range(rng.choice([1, 2, 3, 3, 4, 4, 5, 6, 8])):
        kind = rng.random()
        if kind < 0.45:
            parts.append(f"(?{rng.randint(1, conditions)})")
        elif kind < 0.60:
            parts.append(".*")
        elif kind < 0.72:
            parts.append(".")
        elif after_time:
            continue
        else:
            parts.append(f"(?t{rng.choice(['<=', '<', '>=', '>', '=='])}{rng.choice([0, 0, 1, 1, 2, 3, 5])})")
            after_time = True
            continue
        after_time = False
    return "".join(parts) or ".*"


def rows(rng, conditions):
    """(time, mask of conditions) in any order, with ties and several conditions a row."""
    span = rng.choice([1, 3, 6, 6, 12])
    several, nothing = rng.choice([0.0, 0.2, 0.6]), rng.choice([0.0, 0.1, 0.3])
    found = []
    for _ in range(rng.randint(1, 11)):
        mask = 0
        if rng.random() >= nothing:
            mask = 1 << rng.randrange(conditions)
            while rng.random() < several:
                mask |= 1 << rng.randrange(conditions)
        found.append((rng.randint(0, span), mask))
    if rng.random() < 0.5:
        found.sort(key=lambda row: row[0])
    return found


def answers(conditions, text, users):
    """For each user: whether it matches, how often, the times."""
    values = ",".join(f"({n},{t},{m})" for n, user in enumerate(users) for t, m in user)
    arguments = "t, " + ", ".join(f"bitTest(m, {i})" for i in range(conditions))
    # ClickHouse asks for two conditions at least.
    arguments += ", 0" if conditions == 1 else ""
    calls = ", ".join(f"{f}('{text}')({arguments})" for f in ["sequenceMatch", "sequenceCount", "sequenceMatchEvents"])
    sql = (f"SELECT n, {calls} FROM values('n UInt32, t UInt64, m UInt64', {values}) GROUP BY n ORDER BY n "
           "SETTINGS max_threads = 1")
    return [line.split("\t")[1:] for line in str(chdb.query(sql, "TSV")).splitlines()]


def main():
    given = [int(argument) for argument in sys.argv[1:]] + [600, 5, 26][len(sys.argv) - 1:]
    patterns, each, rng = given[0], given[1], random.Random(given[2])
    print(f"# ClickHouse {str(chdb.query('SELECT version()', 'TSV')).strip()}; conditions pattern time:conditions… = "
          "sequenceMatch sequenceCount sequenceMatchEvents")
    for _ in range(patterns):
        conditions = rng.choice([1, 2, 2, 3, 3, 4])
        text = pattern(rng, conditions)
        users = [rows(rng, conditions) for _ in range(each)]
        for user, cells in zip(users, answers(conditions, text, users)):
            print(conditions, text, *(f"{t}:{m}" for t, m in user), "=", *cells)


main()
