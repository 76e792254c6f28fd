"""The benchmark: its yardstick is a training, its counts are right, and its page is all its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from experiments.benchmarks import config, environments, meta_training, run
from experiments.benchmarks.__main__ import bench
from experiments.benchmarks.architectures import ARCHITECTURES, BARRED, BATCH
from experiments.benchmarks.bars import judged, linearity
from experiments.benchmarks.bounds import bound_of, work_of
from experiments.benchmarks.config import BenchConfig
from experiments.benchmarks.environments import Ready
from experiments.benchmarks.lines import lines_of
from experiments.benchmarks.loops import LOOPS, RATE, batches, fewest_calls, one_graph
from experiments.benchmarks.machine import Machine
from experiments.benchmarks.measure import medians
from experiments.benchmarks.networks import mlp
from experiments.benchmarks.stopwatch import find
from experiments.benchmarks.subjects import LoopKind, SingleKind, VectorKind
from experiments.benchmarks.table import HEADS, markdown
from lr_env.errors import InvalidArgumentError, LrEnvError, UnknownNameError, WorkerError
from lr_env.randomness import IsolatedTorchRandomness

ROOT = Path(__file__).parent.parent
FORWARD = 64 * 32 + 32 * 32 + 32 * 10  # of one sample, in multiplications
TINY = BenchConfig(
    architectures=(BARRED,), loops=tuple(LOOPS)[:2], singles=(1,), lanes=(1, 2), compiled=(),
    divided=(), ending=False, meta_training=False, rounds=1, seconds=0.02, page=None,
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of a whole run in small, which wrote two pages and its figures."""
    folder = tmp_path_factory.mktemp("bench")
    results = bench(replace(TINY, out=folder / "out", page=folder / "page.md"))
    return {**results, "folder": folder}


def check_loop(architecture: str, make: Any) -> None:
    """Hold a loop to a module that torch's plain Adam trains on the same mini-batches."""
    task = ARCHITECTURES[architecture].task(0)
    with IsolatedTorchRandomness(0, "model").use():
        model, again = task.build_model(), task.build_model()
        again.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    loop, samples = make(task), batches(task)
    for _ in range(5):
        inputs, targets = next(samples)
        loop.step(inputs, targets)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(inputs), targets))
        optimizer.step()
    held_out = task.tensors("validation")[0]
    with torch.no_grad():
        before = again(held_out)
        for own, weights in zip(again.parameters(), loop.weights, strict=True):
            own.copy_(weights)
        # Not the weights: attention's key biases have gradients of rounding alone.
        torch.testing.assert_close(again(held_out), model(held_out), rtol=1e-4, atol=1e-5)
    assert (model(held_out) - before).abs().max() > 1e-2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("make", [*list(LOOPS.values())[:2], partial(one_graph, compiled=False)])
def test_loops_make_the_steps_of_a_module_and_torch_s_adam(architecture: str, make: Any) -> None:
    check_loop(architecture, make)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("make", list(LOOPS.values())[2:])
def test_compiled_loops_make_the_same_steps(architecture: str, make: Any) -> None:
    check_loop(architecture, make)


def test_the_plain_loop_trains_and_sees_every_sample_once_a_pass() -> None:
    task = ARCHITECTURES[BARRED].task(0)
    loop, samples = fewest_calls(task), batches(task)
    inputs, targets = task.tensors("train")
    length = len(targets) // BATCH

    def loss() -> float:
        return float(nn.functional.cross_entropy(mlp(loop.weights, inputs), targets))

    before, seen = loss(), []
    for _ in range(5 * length):
        batch = next(samples)
        seen.append(batch[0])
        loop.step(*batch)
    assert loss() < 0.8 * before
    for start in (0, length):
        assert len(torch.unique(torch.cat(seen[start : start + length]), dim=0)) == length * BATCH


def test_a_step_s_work_is_that_counted_by_hand() -> None:
    weights = FORWARD + 32 + 32 + 10
    # Backward: as much for the weights, and for the inputs of all layers but the first.
    step = 2 * 32 * (2 * FORWARD + 32 * 32 + 32 * 10)
    loop, decision = work_of(BARRED, evaluates=False), work_of(BARRED)
    assert loop.flops == step
    assert loop.bytes == 4 * (8 * weights + 32 * 64)
    assert decision.flops == pytest.approx(step + 2 * 256 * FORWARD / 5)
    assert decision.bytes == pytest.approx(loop.bytes + 4 * 256 * 64 / 5)
    assert loop.fastest(Machine(flops=10.0 * step, bytes=0.0)) == (10.0, 0.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stack_s_recorded_products_are_its_whole_arithmetic(architecture: str) -> None:
    with VectorKind(3).open(architecture) as subject:
        products = subject.products()
    update = sum(calls * own.flops for own, calls in products.update.items())
    evaluation = sum(calls * own.flops for own, calls in products.evaluation.items())
    loop, decision = work_of(architecture, evaluates=False), work_of(architecture)
    assert update / 3 == loop.flops
    assert evaluation / 3 / 5 == pytest.approx(decision.flops - loop.flops)
    if architecture == BARRED:
        bound = bound_of(architecture, products, (1, 3))
        assert bound.adam == min(bound.adam_together.values())
        lines = [own for own in bound.products if own["part"] == "update"]
        assert sum(own["products"] for own in lines) == 8
        assert sum(own["seconds"] for own in lines) == pytest.approx(bound.update)


def test_ends_of_trainings_are_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ENDING", 8)
    with VectorKind(4).open(BARRED) as subject:
        envs = subject.run.args[0]  # type: ignore[attr-defined]
        environments.stagger(envs, 4)
        *_, infos = envs.step(np.zeros(envs.action_space.shape, dtype=np.float32))
    # Decisions 8, 6, 4 and 2, of those after steps 1, 2, 4, 8, 13, 18, 23 and 28.
    assert infos["step"].tolist() == [28, 18, 8, 2]


def test_rounds_are_interleaved_and_medians_taken() -> None:
    calls: list[str] = []
    values = {"a": iter([1.0, 9.0, 2.0]), "b": iter([5.0, 6.0, 7.0])}

    def timed(name: str) -> float:
        calls.append(name)
        return next(values[name])

    shares: list[float] = []
    found = medians({name: partial(timed, name) for name in values}, 3, shares.append)
    assert found == {"a": 2.0, "b": 6.0}
    assert calls == ["a", "b"] * 3
    assert shares[-1] == 1.0


def test_a_run_writes_all_figures_and_a_page_that_holds_nothing_else(tiny: dict[str, Any]) -> None:
    text = (tiny["folder"] / "page.md").read_text(encoding="utf-8")
    assert text == (tiny["folder"] / "out" / "benchmarks.md").read_text(encoding="utf-8")
    kept = json.loads((tiny["folder"] / "out" / "benchmarks.json").read_text(encoding="utf-8"))
    assert text == markdown(kept)
    for name in ("command", "revision", "versions", "date", "load_average", "processor",
                 "instructions", "floor"):  # fmt: skip
        assert kept[name]
    assert kept["instructions"] in text
    assert kept["revision"] in text
    for heading in ("Against the bars", "Meta-training", BARRED, "What bounds it"):
        assert f"\n## {heading}\n" in text
    rows = [row for row in text.splitlines() if row.startswith("| ") and "of 2 |" in row]
    assert len(rows) == 1
    assert rows[0].count("|") == len(HEADS) + 1
    assert ("no GPU at hand" in text) == (kept["gpu"] is None)


def test_a_run_s_lines_are_ratios_to_the_fastest_plain_loop(tiny: dict[str, Any]) -> None:
    lines = {line["name"]: line for line in tiny["architectures"][BARRED]["lines"]}
    assert list(lines) == [
        *list(LOOPS)[:2], "SyncVectorEnv of 1", "AsyncVectorEnv of 1", "make_vec of 1",
        "make_vec of 2",
    ]  # fmt: skip
    plain = max(lines[name]["steps_per_second"] for name in list(LOOPS)[:2])
    for name, line in lines.items():
        assert line["plain_loops"] == pytest.approx(line["steps_per_second"] / plain)
        assert 0.0 < line["of_arithmetic"] < 1.0
        assert line["of_traffic"] > 0.0
        assert (line["decisions_per_second"] is None) == (name in LOOPS)
    assert lines["make_vec of 1"]["memory"] is None
    assert lines["make_vec of 2"]["memory"] is not None
    assert lines["make_vec of 2"]["reset"] > 0.0


def figures(rates: dict[str, float]) -> dict[str, Any]:
    """Results of two sizes of each kind that the bars are judged by."""
    kinds: list[Any] = [
        *(LoopKind(name) for name in LOOPS), SingleKind(16, True), VectorKind(256),
        VectorKind(1024), VectorKind(256, compile=True),
        VectorKind(256, compile=True, ending=True),
        VectorKind(1024, workers=2, compile=True), VectorKind(256, device="cuda"),
        VectorKind(65536, device="cuda"),
    ]  # fmt: skip
    timed = {kind: rates.get(kind.name, 1000.0) for kind in kinds[:-1]}
    ready = {kind: Ready(2.0, 1.0, kind.num * 1000) for kind in kinds[5:-1]}
    notes = {kinds[-1]: "make_vec of 65,536, on cuda cannot be timed (out of memory)."}
    lines = lines_of(BARRED, kinds, timed, ready, notes, Machine(1e11, 1e10))
    bound = {"update": 1e-5, "evaluation": 4e-6, "adam": 2e-6, "adam_together": {"1": 2e-6},
             "products": [], "seconds": 1.6e-5, "line": "make_vec of 256",
             "compiled": False}  # fmt: skip
    return {"lines": lines, "bound": bound, "fastest": {"arithmetic": 1e5, "traffic": 1e5}}


def test_bars_are_judged_by_the_figures() -> None:
    found = figures({"make_vec of 256, compiled": 14_000.0})
    one, two, ending = judged({"architectures": {BARRED: found}})
    assert "15 plain loops on one core: not reached" in one
    assert "14.0 times" in one
    assert "62,500, 62.5 plain loops" in one
    assert "50,000 steps/s on two cores: not reached" in two
    assert "7% of what it makes where none ends" in ending
    rates = {"make_vec of 256": 15_000.0, "make_vec of 1,024, compiled, 2 processes": 50_000.0}
    one, two, _ = judged({"architectures": {BARRED: figures(rates)}})
    assert "15 plain loops on one core: reached" in one
    assert "two cores: reached" in two
    assert linearity(figures(rates))[0] == "eager 15.00 (1,024 against 256)"
    assert "leaves out" in judged({"architectures": {}})[0]


def test_products_of_a_stack_s_own_are_not_said_to_be_torch_s(tiny: dict[str, Any]) -> None:
    found = figures({"make_vec of 256, compiled": 14_000.0})
    page = markdown({**tiny, "architectures": {BARRED: found}})
    assert "has products of its own" in page
    assert "takes 71.4 µs a step" in page
    found["bound"]["compiled"] = True
    assert "products of its own" not in markdown({**tiny, "architectures": {BARRED: found}})


def test_gpus_have_lines_of_their_own_and_may_be_too_small(tiny: dict[str, Any]) -> None:
    page = markdown({**tiny, "gpu": "A GPU", "architectures": {BARRED: figures({})}})
    assert "| make_vec of 256, on cuda | 1,000 | 200 | 1.0 |  |  |" in page
    assert "| make_vec of 65,536, on cuda | left out |" in page
    assert "cannot be timed (out of memory)." in page
    assert "A GPU" in page


def test_lines_of_a_gpu_come_where_one_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (False, True):
        monkeypatch.setattr(config, "cuda_at_hand", lambda there=there: there)
        kinds = [kind for kind in BenchConfig().kinds(BARRED) if run.on_gpu(kind)]
        assert kinds == [VectorKind(num, device="cuda") for num in BenchConfig.cuda] * there


def test_sizes_on_a_gpu_that_would_take_too_long_to_begin_are_left_out() -> None:
    ready: dict[Any, Ready] = {VectorKind(256, device="cuda"): Ready(reset=5.0)}
    run.check_time(VectorKind(8192, device="cuda"), ready)
    run.check_time(VectorKind(65536), {VectorKind(256): Ready(reset=5.0)})
    with pytest.raises(WorkerError, match="would take 1280 s"):
        run.check_time(VectorKind(65536, device="cuda"), ready)


def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LrEnvError, match="make_vec of 1, 2 processes cannot be timed"):
        run.Apart(VectorKind(1, workers=2), BARRED, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"architectures": ("mlp",)}, UnknownNameError),
        ({"loops": ("loop, whole step compiled",)}, InvalidArgumentError),
        ({"lanes": ()}, InvalidArgumentError),
        ({"compiled": (0,)}, InvalidArgumentError),
        ({"rounds": 0}, InvalidArgumentError),
    ],
)
def test_mistakes_are_typed_errors(arguments: dict[str, Any], error: type[LrEnvError]) -> None:
    with pytest.raises(error):
        BenchConfig(**arguments)


def test_the_functions_of_a_meta_training_that_are_timed_exist() -> None:
    for name in meta_training.FUNCTIONS:
        holder, own = find(name)
        assert callable(getattr(holder, own))


def test_a_program_is_timed_and_ended_under_the_stopwatch(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import tool\nif __name__ == '__main__':\n"
        "    for _ in range(9):\n        tool.Tool().work()\n        tool.rest()\n"
    )
    (tmp_path / "tool.py").write_text(
        "import time\nclass Tool:\n    def work(self):\n        time.sleep(0.01)\n"
        "def rest():\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.stopwatch", "spans.json",
         "tool:Tool.work,tool:rest", "tool:rest", "program"],
        cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "KeyboardInterrupt" in done.stderr
    spans = json.loads((tmp_path / "spans.json").read_text())
    assert spans["tool:Tool.work"]["calls"] == spans["tool:rest"]["calls"] == 1
    assert spans["tool:Tool.work"]["seconds"] >= 0.01


def test_shares_of_a_meta_training_add_up() -> None:
    seconds = {
        meta_training.COLLECT: 30.0, meta_training.UPDATE: 5.0, meta_training.SCORE: 10.0,
        **dict.fromkeys(meta_training.SLOTS, 8.0), **dict.fromkeys(meta_training.STACKS, 7.5),
    }  # fmt: skip
    spans = {name: {"calls": 100, "seconds": own} for name, own in seconds.items()}
    found = meta_training.summarise(spans, 50_000)
    assert found["slot_decisions_per_second"] == 2000.0
    assert found["shares"] == pytest.approx({
        "the stacks": 0.6, "their layers as slots": 0.04,
        "Stable-Baselines3's rollout": 0.16, "Stable-Baselines3's update": 0.2,
    })  # fmt: skip
