#!/usr/bin/env python3
"""compare.py COUNTS [--rebaseline]: compares gungraun's counts, a line of JSON each, with instructions.txt, or puts them there."""

import json
import pathlib
import sys

BASELINE = pathlib.Path(__file__).with_name("instructions.txt")
HEAD = "# Instructions of each step, see instructions.rs. Written by `make rebaseline`.\n"
# Percent. What a change of the surroundings does is far below.
TOLERANCE = 10


def read_counts(file):
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {line["function_name"]: line["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"] for line in lines}


def read_baseline():
    lines = [line.split() for line in BASELINE.read_text().splitlines() if not line.startswith("#")]
    return {step: int(count) for step, count in lines}


def compare(counts, baseline):
    """Prints a table, and returns what is wrong."""
    problems = [f"{step} has no baseline" for step in counts if step not in baseline]
    problems += [f"{step} has a baseline, but was not counted" for step in baseline if step not in counts]
    print(f"{'step':<10}{'instructions':>14}{'baseline':>14}")
    for step in (step for step in counts if step in baseline):
        now, before = counts[step], baseline[step]
        change = 100 * (now - before) / before
        print(f"{step:<10}{now:>14,}{before:>14,}  {change:+.1f} %")
        if change > TOLERANCE:
            problems.append(f"{step} takes {change:.1f} % more instructions than its baseline; {TOLERANCE} % are allowed")
        elif change < -TOLERANCE:
            print(f"{step} has become cheaper: keep that with `make rebaseline`")
    return problems


counts = read_counts(pathlib.Path(sys.argv[1]))
if sys.argv[2:] == ["--rebaseline"]:
    BASELINE.write_text(HEAD + "".join(f"{step} {count}\n" for step, count in counts.items()))
    print(f"{BASELINE} has the counts of now")
    sys.exit()
problems = compare(counts, read_baseline())
if problems:
    sys.exit("\n".join(problems) + "\nif it is worth that, say why in the commit, and run: make rebaseline")
