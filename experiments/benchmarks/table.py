"""The benchmark's page: all of it is made of a run's results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.benchmarks.architectures import (
    BATCH,
    ENDING,
    STEPS_PER_ACTION,
    UNENDING,
    VALIDATION_SAMPLES,
)
from experiments.benchmarks.bars import best_of, judged, linearity

HEADS = (
    "", "steps/s", "decisions/s", "plain loops", "of the arithmetic", "of the traffic",
    "memory, kB", "reset, s", "first, s",
)  # fmt: skip
MOST = 8
"""Products that the page lists of each network; the run's figures have all."""


def markdown(results: Mapping[str, Any]) -> str:
    """Return the page."""
    lines = ["# Benchmarks", "", *_head(results), "", *_reading(results)]
    lines += ["", "## Against the bars", "", *judged(results)]
    lines += ["", "## Meta-training", "", *_meta_training(results["meta_training"])]
    for name, found in results["architectures"].items():
        lines += ["", f"## {name}", "", *_architecture(found)]
    lines += [
        "", "## What bounds it", "",
        f"The matrix products that take most, up to {MOST} of each network: how many of them a "
        f"step of one training has (of a decision's evaluation one in {STEPS_PER_ACTION}), how "
        "long they take together when each is called alone, and their speed then.",
    ]  # fmt: skip
    for name, found in results["architectures"].items():
        lines += _bound(name, found)
    return "\n".join(lines) + "\n"


def _head(results: Mapping[str, Any]) -> list[str]:
    versions, load = results["versions"], results["load_average"]
    floor = results["floor"]
    packages = ", ".join(
        f"{name} {versions[name]}" for name in ("python", "torch", "numpy", "gymnasium")
    )
    gpu = results["gpu"] or "no GPU at hand"
    return [
        f"`make bench` writes this page, here as `{results['command']}`, on {results['date']}, at "
        f"revision {results['revision'] or 'unknown'}, in {results['seconds'] / 60:.1f} minutes. "
        "Every figure is of that one run.",
        "",
        f"{results['processor']} ({results['instructions']}), {results['cores']} cores, "
        f"{results['memory'] / 2**30:.0f} GB; {gpu}; {packages}; one thread a process. Load "
        f"average at the start (1, 5 and 15 minutes): {', '.join(f'{own:.1f}' for own in load)}. "
        "If other work runs meanwhile, single figures are too low, ratios less so.",
        "",
        f"One core reaches {floor['flops'] / 1e9:.0f} GFLOP/s in a large matrix product and "
        f"{floor['bytes'] / 1e9:.0f} GB/s in a large copy.",
    ]


def _reading(results: Mapping[str, Any]) -> list[str]:
    config = results["config"]
    return [
        f"- *steps/s*: inner optimizer steps a second, of all trainings together: batch {BATCH}, "
        f"Adam, a decision every {STEPS_PER_ACTION} steps, observations and rewards on, "
        f"{VALIDATION_SAMPLES} validation samples a decision. Medians of {config['rounds']} "
        f"rounds of {config['seconds']:g} s, in which the lines of a table take turns, each in a "
        "process of its own.",
        "- *plain loops*: multiples of the fastest plain loop: one training, autograd, Adam's "
        "fused kernel, data in memory, no agent and no evaluation. All that were tried are in the "
        "table. The loop whose whole step is compiled counts as none: it has no autograd left, "
        "and is made as compiled stacks are.",
        "- *of the arithmetic*, *of the traffic*: what share it is of the rate that the large "
        "product and the large copy would allow on the cores that it keeps busy, if a step were "
        "nothing but its products, or nothing but Adam's reading and writing of weights and "
        "moments, and reading of samples.",
        "- *memory*: what each further training takes at the peak, its data included, against the "
        "next smaller size of the same kind.",
        f"- *reset*: seconds to build it and to begin all trainings, of {UNENDING:,} decisions if "
        "nothing else is said. *first*: seconds of the first five decisions, or of a loop's first "
        "hundred steps; in compiled lines that is the compilation, but for multilayer perceptrons, "
        "which are compiled when they are built. What an earlier line of the table has compiled by "
        "torch is not compiled again.",
        f"- *Trainings of {ENDING} decisions* end and begin anew while they are timed, each at a "
        "time of its own; in all other lines none ends.",
        "- SyncVectorEnv and AsyncVectorEnv hold single environments. Each training there has "
        "Python of its own, and more of them only more of it: they are timed at small sizes.",
        *(["- Lines *on cuda* are trainings on the GPU, their memory is the GPU's, and what they "
           "are multiples of is a plain loop on one core of the CPU."] if results["gpu"] else []),
    ]  # fmt: skip


def _meta_training(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["Not timed in this run."]
    shares = ", ".join(f"{share:.1%} in {name}" for name, share in found["shares"].items())
    return [
        f"The default mix of `make train-agent`, PPO, two worker processes: "
        f"{found['slot_decisions_per_second']:,.0f} slot decisions/s, over a rollout of "
        f"{found['decisions']} decisions of each of its "
        f"{found['slot_decisions'] // max(found['decisions'], 1):,} slots and the update after it "
        f"({found['seconds']:.0f} s). Of that time {shares}. Scores, checkpoints and the start "
        "are left out.",
    ]


def _architecture(found: Mapping[str, Any]) -> list[str]:
    fastest = found["fastest"]
    notes = [line["note"] for line in found["lines"] if line["note"]]
    costs = linearity(found)
    return [
        f"On one core arithmetic alone would allow {fastest['arithmetic']:,.0f} steps/s, memory "
        f"traffic alone {fastest['traffic']:,.0f}.",
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
        *(_row(line) for line in found["lines"]),
        "",
        *(f"{note}\n" for note in dict.fromkeys(notes)),
        *([f"What a training costs, the largest size against the next (1: linear): "
           f"{'; '.join(costs)}.", ""] if costs else []),
        _itemised(found),
    ]  # fmt: skip


def _row(line: Mapping[str, Any]) -> str:
    memory = line["memory"]
    cells = (
        line["name"],
        _figure(line["steps_per_second"], ",.0f", "left out"),
        _figure(line["decisions_per_second"], ",.0f"),
        _figure(line["plain_loops"], ".1f"),
        _figure(line["of_arithmetic"], ".0%"),
        _figure(line["of_traffic"], ".0%"),
        _figure(None if memory is None else memory / 1e3, ",.0f"),
        _figure(line["reset"], ".1f"),
        _figure(line["first"], ".1f"),
    )
    return f"| {' | '.join(cells)} |"


def _itemised(found: Mapping[str, Any]) -> str:
    """Return what bounds the fastest line, in one paragraph."""
    bound = found["bound"]
    most = max(bound["adam_together"], key=int)
    text = (
        f"What bounds it: for a step of one training, the matrix products of the update take "
        f"{_micro(bound['update'])}, those of the evaluation {_micro(bound['evaluation'])} (as "
        f"called by {bound['line']}, each timed alone), and Adam's fused kernel "
        f"{_micro(bound['adam'])} ({_micro(bound['adam_together'][most])} if it is on "
        f"{int(most):,} trainings at once). That allows {1 / bound['seconds']:,.0f} steps/s on "
        "one core"
    )
    best = best_of(found, 1)
    if best is None:
        return f"{text}."
    rate = best["steps_per_second"]
    if best["compiled"] and not bound["compiled"]:
        # Its products are none of torch's, so that torch's do not bound it.
        return (
            f"{text} by torch's products. {best['name']} has products of its own and keeps weights "
            f"and moments in the cache from one update to the next: it takes {_micro(1.0 / rate)} "
            f"a step, {best['of_arithmetic']:.0%} of what arithmetic alone would allow."
        )
    rest = 1.0 / rate - bound["seconds"]
    return (
        f"{text}, of which {best['name']} reaches {rate * bound['seconds']:.0%}. The rest, "
        f"{_micro(rest)} a step, is activations, losses, gathering of samples, statistics and "
        "observations, reading and writing of memory for all of it, and calls."
    )


def _bound(name: str, found: Mapping[str, Any]) -> list[str]:
    shown = found["bound"]["products"][:MOST]
    return [
        "",
        f"{name}, as {found['bound']['line']} calls them:",
        "",
        "| | shapes | a step | µs | GFLOP/s |",
        "|---|---|---|---|---|",
        *(
            f"| {own['part']} | {own['shape']} | {own['products']:.1f} | "
            f"{own['seconds'] * 1e6:.2f} | {own['flops_per_second'] / 1e9:.0f} |"
            for own in shown
        ),
    ]


def _figure(value: float | None, form: str, missing: str = "") -> str:
    return missing if value is None else format(value, form)


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"
