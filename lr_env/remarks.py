"""What a controller warns its user of, each thing once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lr_env.instruments import Instruments
from lr_env.user_warnings import warn_user

MANY_LOSSES = 1000
"""Handed over between two steps, more than anybody accumulates gradients of."""
NEGATIVE = (
    "The {} loss is below zero, where its logarithm says nothing: the policy sees its course only "
    "if a constant is added to what {} is handed."
)
WIDE = 10.0
"""Octaves of an envelope from which on what is at its edge is the rate's fault."""


class Remarks:
    """Looks at one training where something may be amiss that is no error."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, instruments: Instruments) -> None:
        self._model = model
        self._optimizer = optimizer
        self._instruments = instruments
        self._said: set[str] = set()
        self._step, self._losses = 0, 0
        self._first_rates: list[float] | None = None

    def at_the_beginning(self) -> None:
        """Warn of parameters in the optimizer that are not the model's."""
        if self._instruments.others:
            self._say(
                "others",
                f"The optimizer also holds {self._instruments.others} parameters that are not this "
                "model's: they train at the optimizer's own rate, without the policy's start and "
                "schedule. Hand over one module that has all of them as parts.",
            )

    def at_a_loss(self) -> None:
        """Warn of an optimizer whose steps are not made."""
        step = self._instruments.step
        self._losses = self._losses + 1 if step == self._step else 1
        self._step = step
        if self._losses == MANY_LOSSES:
            self._say(
                "idle",
                f"{MANY_LOSSES:,} losses were handed over and no step was made: the controller "
                "works in the step() of the optimizer that it was given, and in no other.",
            )

    def at_a_validation_loss(self, loss: float) -> None:
        """Warn of one whose logarithm says nothing."""
        if loss < 0.0:
            self._say("validation sign", NEGATIVE.format("validation", "observe_validation()"))

    def state_dict(self) -> dict[str, Any]:
        """Return what has to be known of the training's beginning, as plain values."""
        return {"first_rates": self._first_rates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self._first_rates = state.get("first_rates")

    def at_a_decision(self, loss: float) -> None:
        """Warn of whatever a policy cannot make anything of."""
        if loss < 0.0:
            self._say("sign", NEGATIVE.format("training", "observe()"))
        self._of_gradients()
        self._of_strangers()
        self._of_the_base()

    def at_the_start(self) -> None:
        """Warn of layers whose start lies outside of the envelope."""
        instruments = self._instruments
        rate = max(instruments.reference_rates)
        if rate > 0.0 and instruments.still and self._has_gradient():
            self._say(
                "still",
                "The first update changes nothing that this precision can show, at a learning rate "
                f"of {rate:.3g}: write one such as 0.001.",
            )
            return
        if instruments.envelope.z_init == "zero":
            return
        bounded = int((instruments.z.abs() >= instruments.envelope.z_max).sum())
        if bounded:
            narrow = instruments.envelope.z_max < WIDE
            remedy = (
                "leave z_max out" if narrow else "write one nearer to what trains, such as 0.001"
            )
            self._say(
                "bounded",
                f"{bounded} of {len(instruments.layers)} layers start at the envelope's edge, "
                f"{instruments.envelope.z_max:g} octaves (factors of two) from the optimizer's "
                f"learning rate, where the policy would go on: {remedy}, or say z_init='zero' to "
                "begin at the rate that is there.",
            )

    def at_the_end(self) -> None:
        """Warn of a training that goes on past its steps."""
        rates = self._instruments.learning_rates
        what = "stay as they are" if any(rates) else "are zero from here on"
        self._say(
            "end",
            f"The training goes on past its {self._instruments.total_steps} steps: the learning "
            f"rates {what}. Hand over a larger total_steps.",
        )

    def at_resuming(self, saved: Mapping[str, Any]) -> None:
        """Warn of a training that is said to be another than the one that was saved."""
        own = self._instruments.setting
        total, planned = own.pop("total_steps"), saved.get("total_steps")
        if planned not in (None, total):
            self._say(
                "plan",
                f"The training that goes on was planned for {planned} steps, and total_steps is "
                f"{total}: it counts from the training's beginning.",
            )
        # States of earlier versions do not say.
        apart = [name for name, value in own.items() if saved.get(name, value) != value]
        if apart:
            self._say(
                "setting",
                f"The training that goes on had another {', '.join(apart)} ("
                f"{', '.join(repr(saved[name]) for name in apart)}): give the controller the same, "
                "or what the policy sees changes in the middle of it.",
            )

    def _of_gradients(self) -> None:
        """Warn of a step without a gradient in any layer, which moves nothing."""
        if not self._has_gradient():
            self._say(
                "gradients",
                "No layer has a gradient where the optimizer steps, and nothing is learned: call "
                "loss.backward() before optimizer.step(), and zero_grad() after it.",
            )

    def _has_gradient(self) -> bool:
        """Return whether any parameter of the layers has a gradient."""
        known = self._known()
        return any(
            p.grad is not None for name, p in self._model.named_parameters() if name in known
        )

    def _known(self) -> set[str]:
        """Return the names of the parameters under control."""
        return {name for layer in self._instruments.layers for name in layer.parameter_names}

    def _of_strangers(self) -> None:
        """Warn of parameters that learn and belong to no layer: they were frozen at first."""
        known = self._known()
        moved = {id(p) for group in self._optimizer.param_groups for p in group["params"]}
        for name, parameter in self._model.named_parameters():
            if name not in known and parameter.grad is not None and id(parameter) in moved:
                self._say(
                    "stranger",
                    f"{name!r} has a gradient and was frozen when the controller was made: it "
                    "trains at the optimizer's own rate. Call detach() and make a new controller.",
                )
                return

    def _of_the_base(self) -> None:
        """Warn of rates that a start or a schedule of the policy's own cannot be made of."""
        instruments = self._instruments
        envelope, base = instruments.envelope, instruments.base_rates
        reference = instruments.reference_rates
        if envelope.z_init != "zero" and instruments.step == 0 and not all(reference):
            self._say(
                "nothing",
                "The optimizer's learning rate is 0, which no start can be made of: write any "
                "positive lr and leave warm-up to the policy, or say z_init='zero'.",
            )
            return
        # Whoever moves rates by hand, or by the loss, leaves no nominal rate behind.
        first = self._first_rates = self._first_rates or reference
        moved = [
            (own, made_of)
            for own, *places in zip(base, reference, first, strict=True)
            for made_of in places
            if not math.isclose(own, made_of, rel_tol=1e-6)
        ]
        if envelope.schedule != "constant" and moved:
            own, made_of = moved[0]
            self._say(
                "schedules",
                f"The optimizer's learning rate is {own:.6g} where the policy's start was found, "
                f"or its schedule is made, at {made_of:.6g}: the policy's own schedule comes on "
                "top of what moves it. Leave warm-up and schedulers out "
                "(lr_scheduler_type='constant' in a Trainer; delete initial_lr and max_lr from "
                "the optimizer's groups if they are gone already), or say z_init='zero'.",
            )

    def _say(self, about: str, message: str) -> None:
        if about not in self._said:
            self._said.add(about)
            warn_user(message)
