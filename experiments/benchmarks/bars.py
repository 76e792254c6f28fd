"""The bars that were set for the vector environment, judged by the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.benchmarks.architectures import BARRED

PLAIN_LOOPS = 15.0
"""That one core is to be worth, on the architecture `BARRED`."""
STEPS_PER_SECOND = 50_000.0
"""Inner steps that two cores are to make a second there."""

Line = Mapping[str, Any]
Found = Mapping[str, Any]


def best_of(found: Found, cores: int, ending: bool = False) -> Line | None:
    """Return the fastest vector environment on the CPU with so many processes; None: no such."""
    lines = [
        line
        for line in found["lines"]
        if line["num"] is not None
        and (line["cores"], line["device"], line["ending"]) == (cores, "cpu", ending)
    ]
    return max(lines, key=lambda line: float(line["steps_per_second"]), default=None)


def plain_loop(found: Found) -> Line:
    """Return the fastest plain loop: that whose multiples are counted."""
    return next(line for line in found["lines"] if line["plain_loops"] == 1.0)


def judged(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence or two on each bar, as a list in Markdown."""
    found = results["architectures"].get(BARRED)
    if found is None:
        return [f"The bars are for {BARRED}, which this run leaves out."]
    return [*_one_core(found), *_two_cores(found), *_ending(found)]


def linearity(found: Found) -> list[str]:
    """Return what a training costs in the largest size, over that in the next smaller, by way."""
    said = []
    ways = dict.fromkeys(line["way"] for line in found["lines"] if line["num"] is not None)
    for way in ways:
        timed = [
            line
            for line in found["lines"]
            if line["way"] == way and line["steps_per_second"] is not None
        ]
        if len(timed) > 1:
            less, more = sorted(timed, key=lambda line: int(line["num"]))[-2:]
            ratio = less["steps_per_second"] / more["steps_per_second"]
            name = (way or "eager").removeprefix(", ")
            said.append(f"{name} {ratio:.2f} ({more['num']:,} against {less['num']:,})")
    return said


def _one_core(found: Found) -> list[str]:
    best, plain = best_of(found, 1), plain_loop(found)
    if best is None:
        return []
    rate, times = best["steps_per_second"], best["plain_loops"]
    text = (
        f"- **{PLAIN_LOOPS:.0f} plain loops on one core: {_word(times >= PLAIN_LOOPS)}.** "
        f"{best['name']} makes {rate:,.0f} steps/s, {times:.1f} times the fastest plain loop "
        f"({plain['name']}: {plain['steps_per_second']:,.0f})"
    )
    for line in found["lines"]:
        if line["name"] == "loop, whole step compiled":
            text += f" and {rate / line['steps_per_second']:.1f} times the loop that is one graph"
    limit = 1.0 / found["bound"]["seconds"]
    return [
        f"{text}. torch's matrix products and Adam's kernel alone would allow {limit:,.0f}, "
        f"{limit / plain['steps_per_second']:.1f} plain loops ([itemised](#what-bounds-it))."
    ]


def _two_cores(found: Found) -> list[str]:
    best = best_of(found, 2)
    if best is None:
        return []
    rate = best["steps_per_second"]
    return [
        f"- **{STEPS_PER_SECOND:,.0f} steps/s on two cores: {_word(rate >= STEPS_PER_SECOND)}.** "
        f"{best['name']} makes {rate:,.0f} ({best['decisions_per_second']:,.0f} decisions/s)."
    ]


def _ending(found: Found) -> list[str]:
    best = best_of(found, 1, ending=True)
    if best is None:
        return []
    same = next(
        (
            line
            for line in found["lines"]
            if (line["num"], line["compiled"], line["ending"], line["cores"], line["device"])
            == (best["num"], best["compiled"], False, 1, "cpu")
        ),
        None,
    )
    text = (
        f"- Where trainings end and begin anew, {best['name']} makes "
        f"{best['steps_per_second']:,.0f} steps/s on one core, {best['plain_loops']:.1f} plain "
        "loops"
    )
    if same is not None:
        share = best["steps_per_second"] / same["steps_per_second"]
        text += f", {share:.0%} of what it makes where none ends"
    return [f"{text}."]


def _word(reached: bool) -> str:
    return "reached" if reached else "not reached"
