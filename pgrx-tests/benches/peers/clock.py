"""Times statements of a peer, and prints them as bench-all reads them: one contender a line, fields apart by tabs."""

import statistics
import time


def measure(contenders, runs):
    """Runs each (label, note, function) in turn, once to warm up and then `runs` times. A function gives the users of
    each level as (level, users) pairs. The processor time is that of this process with all of its threads."""
    samples = {label: [] for label, _, _ in contenders}
    answers = {}
    for round_ in range(runs + 1):
        for label, _, run in contenders:
            wall, cpu = time.perf_counter(), time.process_time()
            answers[label] = sorted((int(level), int(users)) for level, users in run() if int(level) > 0)
            if round_ > 0:
                samples[label].append((time.perf_counter() - wall, time.process_time() - cpu))
    for label, note, _ in contenders:
        walls, cpus = zip(*samples[label])
        answer = ",".join(f"{level} {users}" for level, users in answers[label])
        print(label, note, statistics.median(walls), min(walls), statistics.median(cpus), answer, sep="\t")
