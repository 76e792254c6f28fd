"""The bars of docs/meta-test.md, one by one: passed or not, with the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.meta_test.summary import HIGHEST_RATE

SHARE = 0.8
FINETUNING_HIGHEST = 1e-3
IN_BAR_4 = (
    "fixed", "start", "random", "replay", "mean_scales", "layer_by_layer", "one_action", "shuffled",
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One bar: None as `passed` where its entries were not run."""

    name: str
    passed: bool | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def judge(entries: Mapping[str, Any], controls: Mapping[str, Any]) -> list[Bar]:
    """Return all bars in their order."""
    adam = {name: own for name, own in entries.items() if own["adam_like"]}
    scratch = {name: own for name, own in adam.items() if own["role"] == "scratch"}
    overfitting = {name: own for name, own in adam.items() if own["role"] == "overfitting"}
    finetuning = {name: own for name, own in adam.items() if own["role"] == "finetuning"}
    return [
        _share("1 level with tuned cosine", _cells(scratch, "agent", HIGHEST_RATE)),
        _divergence(_cells(adam, "agent", HIGHEST_RATE)),
        _overfitting(overfitting),
        *([_controls(controls), _lr_star(controls)] if controls else []),
        _share(
            "6 fine-tuning, level with tuned linear decay",
            _cells(finetuning, "agent", FINETUNING_HIGHEST),
        ),
    ]


def _cells(entries: Mapping[str, Any], arm: str, highest: float) -> list[tuple[str, Any]]:
    return [
        (name, cell)
        for name, own in entries.items()
        for cell in own["cells"][arm]
        if cell["rate"] <= highest
    ]


def _share(name: str, cells: Sequence[tuple[str, Any]]) -> Bar:
    if not cells:
        return Bar(name, None, "not run")
    passed = sum(cell["passed"] for _, cell in cells)
    where, worst = max(cells, key=lambda own: float(own[1]["excess"]))
    text = (
        f"{passed} of {len(cells)} cells ({100 * passed / len(cells):.0f} %, at least "
        f"{100 * SHARE:.0f} %); worst {where} from {worst['rate']:g}: {_gap(worst)}"
    )
    return Bar(name, passed >= SHARE * len(cells), text)


def _gap(cell: Mapping[str, Any]) -> str:
    gap, percent = cell["gap"], cell["percent"]
    return (
        f"{gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}] nats "
        f"({percent['mean']:+.0f} %, margin {cell['margin']:.3f})"
    )


def _divergence(cells: Sequence[tuple[str, Any]]) -> Bar:
    name = "2 no divergence where a baseline trains"
    if not cells:
        return Bar(name, None, "not run")
    counted = [(where, cell) for where, cell in cells if cell["a_baseline_trains"]]
    bad = [f"{where} from {cell['rate']:g}" for where, cell in counted if cell["diverged"]]
    runs = sum(cell["diverged"] for _, cell in counted)
    text = f"{runs} trainings diverged, in {len(bad)} of {len(counted)} cells"
    return Bar(name, not bad, text + (f": {', '.join(bad)}" if bad else ""))


def _overfitting(entries: Mapping[str, Any]) -> Bar:
    name = "3 overfitting, with the validation loss"
    shown = _share(name, _cells(entries, "agent_validation", HIGHEST_RATE))
    without = _share(name, _cells(entries, "agent", HIGHEST_RATE))
    return Bar(name, shown.passed, f"{shown.text}. Without it: {without.text}")


def _controls(controls: Mapping[str, Any]) -> Bar:
    parts, passed = [], True
    for name in (own for own in IN_BAR_4 if own in controls):
        median = controls[name]["median"]
        better = median["high"] < 0.0
        passed &= better
        parts.append(f"{name} {_interval(median)}{'' if better else ' NOT BETTER'}")
    return Bar("4 better than every control on the median entry", passed, "; ".join(parts))


def _lr_star(controls: Mapping[str, Any]) -> Bar:
    median, improvement = (controls["lr_star"][name] for name in ("median", "improvement"))
    text = (
        f"median log ratio {_interval(median)}, probability of improvement "
        f"{improvement['mean']:.2f} [{improvement['low']:.2f}, {improvement['high']:.2f}]"
    )
    passed = median["mean"] <= 0.0 and improvement["mean"] > 0.5
    return Bar("5 against lr*", passed, text)


def _interval(interval: Mapping[str, float]) -> str:
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"
