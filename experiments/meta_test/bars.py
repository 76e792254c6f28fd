"""The bars of docs/meta-test.md, one by one: passed or not, with the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from experiments.meta_test.summary import HIGHEST_RATE

SHARE = 0.8
FINETUNING_HIGHEST = 1e-3
IN_BAR_4 = ("fixed", "start", "random", "replay", "mean_scales", "shuffled")


@dataclass(frozen=True)
class Bar:
    """One bar: None as `passed` where its entries were not run; `short` is for tables."""

    name: str
    passed: bool | None
    text: str
    short: str = "-"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def judge(entries: Mapping[str, Any], controls: Mapping[str, Any], shared: bool) -> list[Bar]:
    """Return all bars in their order; `shared`: whether the policy's layers share an action."""
    adam = {name: own for name, own in entries.items() if own["adam_like"]}
    scratch = {name: own for name, own in adam.items() if own["role"] == "scratch"}
    overfitting = {name: own for name, own in adam.items() if own["role"] == "overfitting"}
    finetuning = {name: own for name, own in adam.items() if own["role"] == "finetuning"}
    return [
        _level(scratch),
        _divergence(_cells(adam, "agent", HIGHEST_RATE)),
        _overfitting(overfitting),
        *([_controls(controls, shared), _lr_star(controls)] if controls else []),
        _share(
            "6 fine-tuning, level with tuned linear decay",
            _cells(finetuning, "agent", FINETUNING_HIGHEST),
        ),
    ]


def _cells(entries: Mapping[str, Any], arm: str, highest: float) -> list[tuple[str, Any]]:
    own = {name: entry["cells"][arm] for name, entry in entries.items()}
    return _up_to(highest, own)


def _up_to(highest: float, cells: Mapping[str, Sequence[Any]]) -> list[tuple[str, Any]]:
    return [(name, cell) for name, own in cells.items() for cell in own if cell["rate"] <= highest]


def _level(entries: Mapping[str, Any]) -> Bar:
    """Return the first bar; beside it the better of both schedules, and what needs no agent."""
    bar = _share("1 level with tuned cosine", _cells(entries, "agent", HIGHEST_RATE))
    against = {name: own["cells_against_better"] for name, own in entries.items()}
    cells = _up_to(HIGHEST_RATE, against)
    if not cells:
        return bar
    passed = sum(cell["passed"] for _, cell in cells)
    beside = f". Against the better of tuned cosine and tuned linear: {passed} of {len(cells)}"
    if all("agent_validation" in own["cells"] for own in entries.values()):
        shown = _cells(entries, "agent_validation", HIGHEST_RATE)
        beside += f". Shown a validation loss: {_counted(shown)}"
    if all("start" in own["cells"] for own in entries.values()):
        unmoved = _cells(entries, "start", HIGHEST_RATE)
        beside += f". Zero actions from the policy's own start: {_whole(unmoved)}"
    return replace(bar, text=bar.text + beside)


def _whole(cells: Sequence[tuple[str, Any]]) -> str:
    """Return in how many entries every cell passes: from all rates an agent may end alike."""
    names = dict.fromkeys(name for name, _ in cells)
    whole = [name for name in names if all(cell["passed"] for own, cell in cells if own == name)]
    return f"all of {len(whole)} of {len(names)} entries"


def _share(name: str, cells: Sequence[tuple[str, Any]]) -> Bar:
    if not cells:
        return Bar(name, None, "not run")
    passed = sum(cell["passed"] for _, cell in cells)
    where, worst = max(cells, key=lambda own: float(own[1]["excess"]))
    counted = _counted(cells, f", at least {100 * SHARE:.0f} %")
    text = f"{counted}; worst {where} from {worst['rate']:g}: {_gap(worst)}"
    return Bar(name, passed >= SHARE * len(cells), text, f"{passed} of {len(cells)} cells")


def _counted(cells: Sequence[tuple[str, Any]], asked: str = "") -> str:
    """Return how many cells pass, and in how many entries all do; `asked`: the share that is."""
    passed = sum(cell["passed"] for _, cell in cells)
    share = f"{100 * passed / len(cells):.0f} %{asked}"
    return f"{passed} of {len(cells)} cells ({share}), {_whole(cells)}"


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
    text += f": {', '.join(bad)}" if bad else ""
    return Bar(name, not bad, text, f"{runs} diverged")


def _overfitting(entries: Mapping[str, Any]) -> Bar:
    name = "3 overfitting, with the validation loss"
    shown = _share(name, _cells(entries, "agent_validation", HIGHEST_RATE))
    without = _share(name, _cells(entries, "agent", HIGHEST_RATE))
    return replace(shown, text=f"{shown.text}. Without it: {without.text}")


def _controls(controls: Mapping[str, Any], shared: bool) -> Bar:
    name = "4 better than every control on the median entry"
    expected = (*IN_BAR_4, "layer_by_layer" if shared else "one_action")
    missing = [own for own in expected if own not in controls]
    if missing:
        return Bar(name, None, f"not run: {', '.join(missing)}")
    medians = {own: controls[own]["median"] for own in expected}
    beaten = [own for own, median in medians.items() if median["high"] < 0.0]
    parts = [
        f"{own} {_interval(median)}{'' if own in beaten else ' NOT BETTER'}"
        for own, median in medians.items()
    ]
    if shared:
        parts.append("one_action is the policy itself")
    short = f"better than {len(beaten)} of {len(expected)}"
    return Bar(name, len(beaten) == len(expected), "; ".join(parts), short)


def _lr_star(controls: Mapping[str, Any]) -> Bar:
    median, improvement = (controls["lr_star"][name] for name in ("median", "improvement"))
    text = (
        f"median log ratio {_interval(median)}, probability of improvement "
        f"{improvement['mean']:.2f} [{improvement['low']:.2f}, {improvement['high']:.2f}]"
    )
    passed = median["mean"] <= 0.0 and improvement["mean"] > 0.5
    short = f"{median['mean']:+.3f}, {improvement['mean']:.2f}"
    return Bar("5 against lr*", passed, text, short)


def _interval(interval: Mapping[str, float]) -> str:
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"
