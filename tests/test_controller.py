"""The controller in a training script: what it leaves alone, gives back, and refuses."""

import copy
import io
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from lr_env.controller import LRController
from lr_env.errors import InvalidArgumentError, LrEnvError, ModelError, NonFiniteLossError
from tests.toys import CLASSES, INPUTS, build_toy_model, make_policy

STEPS = 30


class Training:
    """A small training under the controller, advanced step by step."""

    def __init__(self, *, total_steps: int = STEPS, architecture: str = "mlp", **arguments) -> None:
        torch.manual_seed(0)
        self.model = build_toy_model(architecture)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.controller = LRController(
            self.model,
            self.optimizer,
            make_policy(),
            total_steps=total_steps,
            **{"steps_per_action": 4, **arguments},
        )

    def batch(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(16, INPUTS, generator=generator)
        return x, torch.randint(CLASSES, (16,), generator=generator)

    def advance(self, first: int, last: int) -> list[dict[str, float]]:
        rates = []
        for index in range(first, last):
            x, y = self.batch(index)
            loss = nn.functional.cross_entropy(self.model(x), y)
            loss.backward()
            self.controller.observe(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            rates.append(self.controller.learning_rates)
        return rates


@pytest.fixture
def global_seed_kept():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


pytestmark = pytest.mark.usefixtures("global_seed_kept")


def snapshot(optimizer: torch.optim.Optimizer) -> list[dict]:
    return [
        {**group, "params": [id(parameter) for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]


@pytest.mark.parametrize("at", [1, 5, 6, 13])
def test_state_dict_round_trip_in_mid_training_is_exact(at: int) -> None:
    whole = Training()
    expected = whole.advance(0, STEPS)

    first = Training()
    first.advance(0, at)
    file = io.BytesIO()
    torch.save(
        [first.model.state_dict(), first.optimizer.state_dict(), first.controller.state_dict()],
        file,
    )
    file.seek(0)
    model, optimizer, controller = torch.load(file, weights_only=True)

    second = Training()
    second.model.load_state_dict(model)
    second.optimizer.load_state_dict(optimizer)
    second.controller.load_state_dict(controller)
    assert second.advance(at, STEPS) == expected[at:]
    assert second.controller.history == whole.controller.history
    for ours, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_state_dict_stays_as_it_was_taken() -> None:
    training = Training()
    training.advance(0, 6)
    state = training.controller.state_dict()
    kept = copy.deepcopy(state)
    training.advance(6, 12)
    fresh, other = Training(), Training()
    fresh.controller.load_state_dict(state)
    other.controller.load_state_dict(kept)
    assert fresh.controller.learning_rates == other.controller.learning_rates
    assert fresh.advance(6, 12) == other.advance(6, 12)


def test_a_state_of_an_older_version_is_refused_in_a_sentence() -> None:
    training = Training()
    training.advance(0, 3)
    state = training.controller.state_dict()
    del state["instruments"]["scope"]
    with pytest.raises(ModelError, match="older version"):
        Training().controller.load_state_dict(state)


def test_states_of_another_model_or_policy_are_refused() -> None:
    state = Training().controller.state_dict()
    with pytest.raises(ModelError, match="other layers"):
        Training(architecture="layernorm").controller.load_state_dict(state)
    with pytest.raises(InvalidArgumentError, match="another policy"):
        Training().controller.load_state_dict({**state, "policy": "0" * 64})


def test_the_optimizer_has_its_own_groups_between_steps_and_after_detaching() -> None:
    training = Training()
    hooks = (
        training.optimizer._optimizer_step_pre_hooks,
        training.optimizer._optimizer_step_post_hooks,
    )
    before, groups = snapshot(training.optimizer), training.optimizer.param_groups
    layout = training.optimizer.state_dict()["param_groups"]
    training.advance(0, 9)
    assert snapshot(training.optimizer) == before
    assert training.optimizer.param_groups is groups
    assert training.optimizer.state_dict()["param_groups"] == layout
    assert [len(hook) for hook in hooks] == [1, 1]
    training.controller.detach()
    assert snapshot(training.optimizer) == before
    assert [len(hook) for hook in hooks] == [0, 0]
    decided = len(training.controller.history)
    training.advance(9, 20)
    assert len(training.controller.history) == decided


def test_detached_training_goes_on_as_plain_training() -> None:
    training = Training()
    training.advance(0, 9)
    model = copy.deepcopy(training.model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    optimizer.load_state_dict(copy.deepcopy(training.optimizer.state_dict()))
    training.controller.detach()
    training.advance(9, 20)
    for index in range(9, 20):
        x, y = training.batch(index)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    for ours, theirs in zip(training.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_rates_stand_in_the_optimizer_during_the_step_only() -> None:
    training = Training()
    seen = []
    training.optimizer.register_step_pre_hook(
        lambda optimizer, args, kwargs: seen.append([g["lr"] for g in optimizer.param_groups])
    )
    training.advance(0, 3)
    rates = training.controller.history[-1].learning_rates
    assert seen[-1] == list(rates)
    assert len(set(rates)) == 2
    assert [group["lr"] for group in training.optimizer.param_groups] == [0.01]


def test_a_failing_step_leaves_nothing_behind_once_detached() -> None:
    training = Training()
    before = snapshot(training.optimizer)
    training.advance(0, 2)

    def fail(optimizer, args, kwargs) -> None:
        raise RuntimeError("in the middle of a step")

    handle = training.optimizer.register_step_pre_hook(fail)
    with pytest.raises(RuntimeError, match="middle of a step"):
        training.advance(2, 3)
    handle.remove()
    training.controller.detach()
    assert snapshot(training.optimizer) == before


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_names_the_step(bad: float) -> None:
    training = Training()
    training.advance(0, 2)
    training.controller.observe(bad)
    with pytest.raises(NonFiniteLossError, match="near step 2") as caught:
        training.optimizer.step()
    assert "\n" not in str(caught.value)


def test_a_step_without_a_loss_says_what_to_call() -> None:
    training = Training()
    training.model(training.batch(0)[0]).sum().backward()
    with pytest.raises(ModelError, match=r"controller\.observe"):
        training.optimizer.step()


def test_accumulated_losses_are_averaged() -> None:
    training, losses = Training(), []
    for index in range(2):
        x, y = training.batch(index)
        loss = nn.functional.cross_entropy(training.model(x), y)
        (loss / 2).backward()
        training.controller.observe(loss)
        losses.append(loss.item())
    training.optimizer.step()
    assert training.controller.history[0].loss == pytest.approx(sum(losses) / 2)


def test_history_has_every_decision() -> None:
    training = Training()
    rates = training.advance(0, STEPS)
    history = training.controller.history
    assert [decision.step for decision in history] == [0, 1, 2, *range(4, STEPS, 4)]
    assert all(decision.base_lr == 0.01 for decision in history)
    assert tuple(rates[4].values()) == history[3].learning_rates
    assert list(rates[0]) == [layer.name for layer in training.controller.layers] == ["0", "2"]


def test_going_on_past_the_budget_warns_once_and_keeps_the_rates() -> None:
    training = Training(total_steps=6)
    last = training.advance(0, 6)[-1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        after = training.advance(6, 20)
    assert after == [last] * 14
    assert [str(w.message) for w in caught if "total_steps" in str(w.message)] != []
    assert len(caught) == 1
    # Not at torch's hook, which is where it arises: the toy's own line called step().
    assert Path(caught[0].filename).parent == Path(__file__).parent
    assert len(training.controller.state_dict()["instruments"]["losses"]) <= 4


def test_frozen_parameters_are_left_to_the_owner() -> None:
    model = build_toy_model()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    controller = LRController(model, optimizer, make_policy(), total_steps=STEPS)
    before = model[0].weight.clone()
    loss = model(torch.ones(4, INPUTS)).square().mean()
    loss.backward()
    controller.observe(loss)
    optimizer.step()
    assert list(controller.learning_rates) == ["2"]
    assert torch.equal(model[0].weight, before)


def test_parameters_of_other_models_keep_the_owners_rate() -> None:
    model, other = build_toy_model(), nn.Linear(2, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1)
    with pytest.warns(UserWarning, match="not this model's"):
        controller = LRController(model, optimizer, make_policy(), total_steps=STEPS)
    before = other.weight.detach().clone()
    loss = model(torch.ones(4, INPUTS)).square().mean() + other(torch.ones(1, 2)).mean()
    loss.backward()
    controller.observe(loss)
    gradient = other.weight.grad.clone()
    optimizer.step()
    torch.testing.assert_close(other.weight.detach(), before - 0.1 * gradient)


def test_groups_with_rates_of_their_own_keep_their_ratio() -> None:
    model = build_toy_model()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.001}, {"params": model[2].parameters()}], lr=0.1
    )
    controller = LRController(model, optimizer, make_policy(), total_steps=STEPS, z_init="zero")
    assert controller.learning_rates == {"0": 0.001, "2": 0.1}


def mistakes() -> dict:
    model = build_toy_model()
    frozen = build_toy_model().requires_grad_(False)
    adam = torch.optim.Adam(model.parameters())
    partial = torch.optim.Adam(model[0].parameters())
    weights = torch.optim.Adam([model[0].weight, model[2].weight])
    return {
        "no steps": (model, adam, {"total_steps": 0}, InvalidArgumentError, "total_steps"),
        "no interval": (model, adam, {"steps_per_action": 0}, InvalidArgumentError, "per_action"),
        "no epoch": (model, adam, {"steps_per_epoch": 0}, InvalidArgumentError, "steps_per_epoch"),
        "no batch": (model, adam, {"batch_size": 0}, InvalidArgumentError, "batch_size"),
        "no envelope": (model, adam, {"z_max": 0.0}, InvalidArgumentError, "z_max"),
        "no such start": (model, adam, {"z_init": "warm"}, LrEnvError, "z_init"),
        "no such policy": (model, adam, {"policy": "ppo-v9999"}, LrEnvError, "policy"),
        "frozen model": (frozen, adam, {}, ModelError, "no trainable parameters"),
        "no parameters": (nn.ReLU(), adam, {}, ModelError, "no trainable parameters"),
        "a layer left out": (model, partial, {}, ModelError, "does not hold layer '2'"),
        "biases left out": (model, weights, {}, ModelError, "does not hold layer '0'"),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(mistakes()))
def test_unusable_arguments_are_one_sentence_and_leave_no_hook(name: str) -> None:
    model, optimizer, arguments, error, says = mistakes()[name]
    chosen = {"policy": make_policy(), "total_steps": 10, **arguments}
    with pytest.raises(error, match=says) as caught:
        LRController(model, optimizer, **chosen)
    assert "\n" not in str(caught.value)
    assert len(optimizer._optimizer_step_pre_hooks) == 0


def test_a_second_controller_on_the_same_optimizer_is_refused() -> None:
    training = Training()
    with pytest.raises(ModelError, match="detach"):
        LRController(training.model, training.optimizer, make_policy(), total_steps=STEPS)
    training.controller.detach()
    LRController(training.model, training.optimizer, make_policy(), total_steps=STEPS)


def test_the_dry_run_at_the_start_changes_nothing() -> None:
    training = Training(z_init="cautious")
    x, y = training.batch(0)
    loss = nn.functional.cross_entropy(training.model(x), y)
    loss.backward()
    training.controller.observe(loss)
    weights = [p.detach().clone() for p in training.model.parameters()]
    gradients = [p.grad.clone() for p in training.model.parameters()]
    training.controller._decide()
    for parameter, weight, gradient in zip(
        training.model.parameters(), weights, gradients, strict=True
    ):
        assert torch.equal(parameter, weight)
        assert torch.equal(parameter.grad, gradient)
    assert not training.optimizer.state
