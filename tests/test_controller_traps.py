"""Set-ups in which a controller would do nothing, or something else than meant, and say so."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lr_env.controller import LRController
from lr_env.errors import InvalidArgumentError, ModelError
from lr_env.remarks import MANY_LOSSES
from tests.controlled import CALIBRATED, STEPS, adam, advance, batch, control
from tests.toys import build_toy_model, make_policy

pytestmark = pytest.mark.usefixtures("seeded_globally")


class Showing(Optimizer):
    """A wrapper that passes for the optimizer inside it, as Lightning Fabric's does."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def __getattribute__(self, name: str) -> Any:
        if name in ("optimizer", "step", "__class__", "__dict__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "optimizer"), name)

    def step(self, closure: Any = None) -> None:
        self.optimizer.step()


def test_a_wrapper_that_passes_for_the_optimizer_is_taken_off() -> None:
    model = build_toy_model()
    wrapped = Showing(torch.optim.SGD(model.parameters(), lr=1e-5))
    controller = control(model, wrapped)
    before = model[0].weight.detach().clone()
    advance(model, wrapped, controller, 0, 1)
    moved = (model[0].weight.detach() - before).norm() / model[0].weight.grad.norm()
    assert float(moved) == pytest.approx(controller.history[0].learning_rates[0], rel=1e-4)
    assert float(moved) > 1e-4


def test_a_copy_is_told_from_the_controller_that_the_optimizer_calls() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 3)
    others = copy.deepcopy((model, optimizer, controller))
    with pytest.raises(ModelError, match="copy"):
        advance(*others, 3, 4)
    advance(model, optimizer, controller, 3, 4)


def test_losses_without_steps_are_remarked_upon() -> None:
    model = build_toy_model()
    controller = control(model, adam(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(MANY_LOSSES - 1):
            controller.observe(1.0)
    with pytest.warns(UserWarning, match="no step was made"):
        controller.observe(1.0)


def test_losses_of_many_steps_between_two_decisions_are_no_matter() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    # Decisions come at 1,024 and 2,048 steps.
    controller = control(model, optimizer, total_steps=8000, steps_per_action=4000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advance(model, optimizer, controller, 0, 2048)
    assert len(controller.state_dict()["instruments"]["losses"]) > MANY_LOSSES


def test_a_detached_controller_keeps_no_losses() -> None:
    model = build_toy_model()
    controller = control(model, adam(model))
    controller.detach()
    controller.observe(1.0)
    assert controller.state_dict()["instruments"]["losses"] == []


def test_parameters_that_are_not_the_model_s_are_remarked_upon() -> None:
    model, other = build_toy_model(), nn.Linear(3, 3)
    optimizer = torch.optim.Adam([*model.parameters(), *other.parameters()])
    with pytest.warns(UserWarning, match="holds 2 parameters that are not this model's"):
        control(model, optimizer)


@pytest.mark.parametrize("loss", [torch.ones(2), None, "much", [1.0, 2.0]])
def test_a_loss_that_is_not_one_number_is_refused(loss: Any) -> None:
    model = build_toy_model()
    with pytest.raises(InvalidArgumentError, match="The loss must be"):
        control(model, adam(model)).observe(loss)


def test_a_state_is_of_its_envelope() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer, z_max=2.0, z_init="zero")
    advance(model, optimizer, controller, 0, 3)
    state = controller.state_dict()
    controller.detach()
    with pytest.raises(InvalidArgumentError, match=r"saved with z_max=2\.0.*z_init='zero'"):
        control(model, optimizer).load_state_dict(state)


def test_a_state_of_an_envelope_that_knows_more_says_what() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 3)
    state = controller.state_dict()
    state["envelope"] = {**state["envelope"], "elasticity": 0.5}
    controller.detach()
    with pytest.raises(InvalidArgumentError, match=r"saved with elasticity=0\.5:"):
        control(model, optimizer).load_state_dict(state)


def test_a_state_without_an_envelope_still_loads() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 3)
    state = controller.state_dict()
    del state["envelope"]
    controller.detach()
    control(model, optimizer).load_state_dict(state)


def test_a_training_that_overran_its_steps_decides_again_when_it_is_given_more() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer, total_steps=6)
    with pytest.warns(UserWarning, match="goes on past its 6 steps"):
        advance(model, optimizer, controller, 0, 8)
    state = controller.state_dict()
    controller.detach()
    longer = control(model, optimizer, total_steps=20)
    with pytest.warns(UserWarning, match="was planned for 6 steps"):
        longer.load_state_dict(state)
    made = len(longer.history)
    advance(model, optimizer, longer, 8, 20)
    assert [decision.step for decision in longer.history[made:]] == [8, 10, 12, 14, 16, 18]


def test_whole_numbers_of_numpy_leave_a_checkpoint_that_can_be_read() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    many, few = np.int64(STEPS), np.int64(2)
    controller = control(model, optimizer, total_steps=many, steps_per_action=few)
    advance(model, optimizer, controller, 0, 3)
    file = io.BytesIO()
    torch.save(controller.state_dict(), file)
    file.seek(0)
    torch.load(file, weights_only=True)


def test_an_optimizer_is_saved_as_its_owner_s_after_a_step_that_broke_off() -> None:
    class Breaking(torch.optim.SGD):
        breaks = False

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            if self.breaks:
                raise KeyboardInterrupt

    model = build_toy_model()
    optimizer = Breaking(model.parameters(), lr=0.1)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 1)
    optimizer.breaks = True
    with pytest.raises(KeyboardInterrupt):
        advance(model, optimizer, controller, 1, 2)
    assert len(optimizer.param_groups) > 1
    groups = optimizer.state_dict()["param_groups"]
    assert [group["lr"] for group in groups] == [0.1]


def test_a_rate_of_zero_is_remarked_upon() -> None:
    model = build_toy_model()
    optimizer = adam(model, lr=0.0)
    controller = control(model, optimizer)
    with pytest.warns(UserWarning, match="learning rate is 0"):
        advance(model, optimizer, controller, 0, 1)


def test_two_schedules_are_remarked_upon_once_the_other_one_acts() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    controller = control(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advance(model, optimizer, controller, 0, 1)
    scheduler.step()
    with pytest.warns(UserWarning, match="own schedule comes on top"):
        advance(model, optimizer, controller, 1, 3)


def test_a_recipe_s_scheduler_is_no_second_one() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    controller = control(model, optimizer, z_max=2.0, z_init="zero")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for index in range(4):
            advance(model, optimizer, controller, index, index + 1)
            scheduler.step()


def test_weights_that_were_loaded_after_the_controller_was_made_are_the_first_ones() -> None:
    source = build_toy_model()
    histories = []
    for early in (True, False):
        model = build_toy_model()
        optimizer = adam(model)
        if not early:
            model.load_state_dict(source.state_dict())
        controller = control(model, optimizer)
        if early:
            model.load_state_dict(source.state_dict())
        advance(model, optimizer, controller, 0, 8)
        histories.append(controller.history)
    assert histories[0] == histories[1]


def test_tensors_of_ours_stay_on_the_cpu_whatever_the_default_device() -> None:
    model = build_toy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = batch(0)
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    policy = make_policy(envelope=CALIBRATED)
    with torch.device("meta"):
        controller = LRController(model, optimizer, policy, total_steps=STEPS)
        controller.observe(loss)
        optimizer.step()
    assert all(rate > 0.0 for rate in controller.history[0].learning_rates)


def test_a_checkpoint_holds_plain_numbers_whatever_was_handed_over() -> None:
    model = build_toy_model()
    controller = LRController(
        model, adam(model), make_policy(), total_steps=np.int64(STEPS),
        steps_per_epoch=np.ceil(100 / 32), batch_size=np.int32(32),
        steps_per_action=torch.tensor(2), z_max=np.float32(2.0), z_init=np.str_("zero"),
    )  # fmt: skip
    saved = io.BytesIO()
    torch.save(controller.state_dict(), saved)
    saved.seek(0)
    controller.load_state_dict(torch.load(saved))


def test_an_optimizer_that_finds_its_own_rate_is_refused() -> None:
    prodigy = pytest.importorskip("prodigyopt").Prodigy
    model = build_toy_model()
    with pytest.raises(ModelError, match="finds its own rate"):
        LRController(model, prodigy(model.parameters()), total_steps=STEPS)


def test_a_step_without_a_gradient_is_said(recwarn: pytest.WarningsRecorder) -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer, z_init="zero")
    for index in range(4):
        x, y = batch(index)
        controller.observe(nn.functional.cross_entropy(model(x), y))
        optimizer.step()
        optimizer.zero_grad()
    said = [str(warning.message) for warning in recwarn if "backward" in str(warning.message)]
    assert len(said) == 1


def test_a_rate_at_which_nothing_moves_is_said() -> None:
    model = build_toy_model()
    optimizer = adam(model, lr=1e-12)
    with pytest.warns(UserWarning, match=r"changes nothing that this precision can show.* 1e-12"):
        advance(model, optimizer, control(model, optimizer), 0, 1)


def test_a_validation_loss_below_zero_is_said() -> None:
    model = build_toy_model()
    controller = control(model, adam(model))
    with pytest.warns(UserWarning, match="validation loss is below zero"):
        controller.observe_validation(torch.tensor(-3.0, requires_grad=True))


def test_a_narrow_envelope_is_not_blamed_on_the_rate() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    with pytest.warns(UserWarning, match="edge, 1 octaves .*: leave z_max out, or say z_init"):
        advance(model, optimizer, control(model, optimizer, z_max=1.0), 0, 1)


def test_what_pretrained_may_be() -> None:
    model = build_toy_model()
    with pytest.raises(ModelError, match=r"True or False, names .*, not 3"):
        control(model, adam(model), pretrained=3)
