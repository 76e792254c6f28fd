"""One run: what arms of a seed share, what is read when, and what becomes of a divergence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.arms import METHODS, parse_arms
from experiments.arms.optimizers import build_optimizer, judged_weights, training_mode
from experiments.effort import TRAINED
from experiments.runs import POINTS, RunSpec
from experiments.training import run
from lr_env.action import DISCRETE_ACTIONS
from lr_env.controller import LRController
from lr_env.errors import PolicyError
from lr_env.observation import FEATURES
from lr_env.policy import FrozenPolicy
from lr_env.tasks import Split, register_task
from tests.toys import ToyTask, make_policy

TIMES = ("seconds", "samples_per_second", "controller_seconds")
PLAIN = {
    name for name, method in METHODS.items() if method.recipe == "plan" and not method.layer_decay
}


class Watched(ToyTask):
    """Writes down what is read of it, in the order of reading."""

    log: list[Any] = []  # noqa: RUF012

    def metrics(self, model: nn.Module, split: Split) -> dict[str, float]:
        self.log.append(split)
        return super().metrics(model, split)

    def batches(self, split: Split, batch_size: int, generator: Any = None) -> Iterator[Any]:
        for batch in super().batches(split, batch_size, generator):
            if split == "train":
                self.log.append(batch[0].sum().item())
            yield batch


class Exploding(ToyTask):
    """Its loss is not a number from the seventh step on."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.step = 0

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        self.step += 1
        return super().loss(model, batch) * (float("nan") if self.step >= 7 else 1.0)


register_task("watched", Watched)
register_task("exploding", Exploding)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("policies") / "random"
    make_policy().save(folder)
    return str(folder)


def spec(arm: str, policy: str, task: str = "toy", seed: int = 0, **changes: Any) -> RunSpec:
    chosen = parse_arms(arm)[0]
    arguments: dict[str, Any] = {
        "task": task, "task_arguments": {}, "seed": seed, "arm": chosen,
        "policy": policy if chosen.has_policy else None, "epochs": 10, "batch_size": 16,
    }  # fmt: skip
    return RunSpec(**{**arguments, **changes})


def timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


@pytest.mark.parametrize("arm", [name for name in METHODS if name in PLAIN])
@pytest.mark.parametrize("architecture", ["mlp", "dropout"])
def test_same_seed_same_record(arm: str, architecture: str, policy: str) -> None:
    arguments = {"architecture": architecture}
    torch.manual_seed(1)
    first = timeless(run(spec(arm, policy, task_arguments=arguments)))
    torch.manual_seed(2)
    assert timeless(run(spec(arm, policy, task_arguments=arguments))) == first
    assert run(spec(arm, policy, task_arguments=arguments, seed=1))["points"] != first["points"]


def test_arms_of_a_seed_see_the_same_batches_and_test_data_once(policy: str) -> None:
    seen = {}
    for arm in ("adam", "adam-cosine", "agent"):
        Watched.log.clear()
        run(spec(arm, policy, "watched"))
        seen[arm] = list(Watched.log)
    assert seen["adam"] == seen["adam-cosine"] == seen["agent"]
    assert seen["adam"].count("test") == 1
    assert seen["adam"][-1] == "test"
    assert seen["adam"].count("validation") == POINTS


@pytest.mark.parametrize("discrete", [False, True])
def test_the_start_alone_is_the_agent_without_its_actions(discrete: bool, tmp_path: Path) -> None:
    policy = make_policy(discrete=discrete, seed=1)
    weights = {name: torch.zeros_like(own) for name, own in policy.weights().items()}
    if discrete:
        list(weights.values())[-1][DISCRETE_ACTIONS.index(0.0)] = 1.0
    still = FrozenPolicy(weights, policy.card)
    rows = torch.randn(20, 3, len(FEATURES))
    assert not still.act(rows).any()
    assert policy.act(rows).any()
    for name, own in (("policy", policy), ("still", still)):
        own.save(tmp_path / name)
    start = timeless(run(spec("start", str(tmp_path / "policy"))))
    agent = timeless(run(spec("agent", str(tmp_path / "still"))))
    assert start.pop("arm") == "start"
    assert agent.pop("arm") == "agent"
    assert start == agent
    assert run(spec("agent", str(tmp_path / "policy")))["points"] != start["points"]


def test_controls_act_otherwise_from_the_agents_start(policy: str) -> None:
    arms = ("agent", "one-action", "one-rate", "shuffled", "random")
    rates = {arm: torch.tensor(run(spec(arm, policy))["learning_rates"]["rates"]) for arm in arms}
    moves = {arm: own[1:].log2() - own[0].log2() for arm, own in rates.items()}
    assert (rates["one-rate"].log2() - rates["one-rate"].log2().mean(-1, True)).abs().max() < 1e-4
    first = rates["agent"][0].log2()
    assert first.max() - first.min() > 0.1
    assert rates["one-rate"][0].log2().mean() == pytest.approx(float(first.mean()), abs=0.5)
    assert (moves["one-action"] - moves["one-action"].mean(-1, keepdim=True)).abs().max() < 1e-4
    for arm, own in moves.items():
        others = [other for name, other in moves.items() if name != arm]
        assert not any(torch.allclose(own, other, atol=1e-2) for other in others)
    start, half = (
        torch.tensor(run(spec(arm, policy))["learning_rates"]["rates"])
        for arm in ("start", "half-start")
    )
    assert torch.allclose(half, start / 2.0, rtol=1e-5)
    again = torch.tensor(run(spec("random", policy))["learning_rates"]["rates"])
    assert torch.equal(rates["random"], again)


def test_only_the_arm_that_says_so_is_shown_validation_losses(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    monkeypatch.setattr(LRController, "observe_validation", lambda self, loss: shown.append(loss))
    run(spec("agent", policy))
    assert not shown
    record = run(spec("agent-validation", policy))
    assert shown == [point["loss"] for point in record["points"]]


def test_arms_of_a_seed_start_from_the_same_weights(policy: str) -> None:
    # So small a rate leaves the weights where they were: arms can only differ by their start.
    arms = ("adam@1e-12", "adam-cosine@1e-12", "adam-linear@1e-12", "schedule-free@1e-12")
    losses = {run(spec(arm, policy))["test"]["loss"] for arm in arms}
    assert max(losses) - min(losses) < 1e-6


def test_readings_are_twentieths_of_the_budget(policy: str) -> None:
    record = run(spec("adam", policy))
    assert record["total_steps"] == 40
    assert [p["epochs"] for p in record["points"]] == pytest.approx([i / 2 for i in range(1, 21)])
    assert {"train_loss", "loss", "accuracy"} <= set(record["points"][0])
    assert record["task"]["sizes"] == {"train": 64, "validation": 32, "test": 32}


def test_a_budget_of_fewer_steps_than_readings(policy: str) -> None:
    record = run(spec("agent", policy, epochs=1, batch_size=32))
    assert [point["epochs"] for point in record["points"]] == [0.5, 1.0]


@pytest.mark.parametrize("arm", ["adam", "adam-plateau", "agent"])
def test_divergence_is_recorded(arm: str, policy: str) -> None:
    record = run(spec(arm, policy, "exploding"))
    assert record["diverged_at_step"] == 6
    assert len(record["points"]) == 3
    assert record["test"]["loss"] is not None


def test_schedule_free_leaves_no_trace_of_its_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    # BatchNorm's statistics are taken anew at every reading, and dropout's masks go on as before.
    first = run(spec("schedule-free", "", task_arguments={"architecture": "batchnorm"}))
    monkeypatch.setattr("experiments.training.reading_steps", lambda total: {total})
    second = run(spec("schedule-free", "", task_arguments={"architecture": "batchnorm"}))
    assert len(second["points"]) == 1
    assert second["test"] == first["test"]


def test_schedule_free_is_judged_by_its_average_with_statistics_of_its_own() -> None:
    task = ToyTask(0, "batchnorm")
    model = task.build_model()
    arm = parse_arms("schedule-free@0.05")[0]
    optimizer = build_optimizer(arm, model, 10)
    training_mode(optimizer)
    for batch in task.batches("train", 16):
        optimizer.zero_grad()
        task.loss(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with judged_weights(optimizer, task, model, 16):
        inside = {name: value.clone() for name, value in model.state_dict().items()}
    changed = {name for name in before if not torch.equal(before[name], inside[name])}
    assert {"0.weight", "1.running_mean", "1.running_var"} <= changed
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_trial_never_reads_test_data(policy: str) -> None:
    Watched.log.clear()
    record = run(spec("adam", policy, "watched", read_test=False))
    assert record["test"] == {}
    assert "test" not in Watched.log


def test_a_run_tells_how_far_it_is(policy: str) -> None:
    shares: list[float] = []
    record = run(spec("adam", policy), shares.append)
    assert len(shares) == 40
    assert shares == sorted(shares)
    # Steps and readings are not all: what is left is the test's.
    task = ToyTask()
    looked = len(record["points"]) * task.size("validation")
    whole = 40 * 16 * TRAINED + looked + task.size("test")
    assert shares[-1] == pytest.approx(1.0 - task.size("test") / whole)
    assert shares[0] == pytest.approx(16 * TRAINED / whole)


def test_the_controller_s_time_is_part_of_the_training_s(policy: str) -> None:
    record = run(spec("agent", policy))
    assert 0.0 < record["controller_seconds"] < record["seconds"]
    assert run(spec("adam", policy))["controller_seconds"] == 0.0


def test_the_agent_moves_every_layer(policy: str) -> None:
    rates = run(spec("agent", policy))["learning_rates"]
    assert rates["layers"] == ["0", "2"]
    assert rates["steps"][0] == 0
    assert len(rates["steps"]) == len(rates["rates"])
    assert all(len({row[layer] for row in rates["rates"]}) > 1 for layer in range(2))
    assert run(spec("adam", policy))["learning_rates"] is None


def test_a_policy_replaced_meanwhile_is_not_run(policy: str) -> None:
    assert Path(policy).is_dir()
    with pytest.raises(PolicyError, match="replaced while it was evaluated"):
        run(spec("agent", policy, policy_digest="0" * 64))
