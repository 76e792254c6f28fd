"""The controller: a frozen policy at work in somebody's training script."""

from __future__ import annotations

import math
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lr_env.action import Envelope, InitialScale
from lr_env.arguments import check_count, check_number, plain
from lr_env.controllable import (
    bare_model,
    bare_optimizer,
    check_model,
    check_optimizer,
    check_processes,
    check_step,
)
from lr_env.decisions import check_horizon, default_steps_per_action
from lr_env.errors import InvalidArgumentError, LrEnvError, ModelError, NonFiniteLossError
from lr_env.gradients import step_is_void
from lr_env.instruments import Instruments
from lr_env.layers import Layer
from lr_env.policy import DEFAULT_POLICY, FrozenPolicy, resolve_policy
from lr_env.pretrained import Pretrained, pretrained_names
from lr_env.remarks import Remarks

__all__ = ["Decision", "LRController"]

STATE_VERSION = 1
_CONTROLLED: weakref.WeakSet[Optimizer] = weakref.WeakSet()


@dataclass(frozen=True)
class Decision:
    """One decision of the controller.

    Attributes:
        step: updates made before it.
        loss: mean training loss since the last decision.
        base_lr: the optimizer's own rate at that time (of the first layer).
        learning_rates: the rate of every layer from here on, in the order of `layers`.
    """

    step: int
    loss: float
    base_lr: float
    learning_rates: tuple[float, ...]


class LRController:
    """Sets the learning rate of every layer of `model` while `optimizer` trains it.

    ```python
    controller = LRController(model, optimizer, policy="ppo-v1", total_steps=steps)
    for x, y in loader:
        loss = loss_fn(model(x), y)
        loss.backward()
        controller.observe(loss)
        optimizer.step()
        optimizer.zero_grad()
    ```

    A policy may have a schedule of its own (`controller.policy.envelope.schedule`), which comes on
    top of whatever scheduler there is: use one of them. With `z_init="zero"` it has none.

    Optimizers outside `torch.optim` work as far as they keep what they know by parameter; of what
    they count in a parameter group, as Schedule-Free does, only the first layer's is kept.

    It works in the optimizer's step hooks: the rates stand in the optimizer for the length of a
    step, then its own come back, so that schedulers and checkpoints never see them.

    Args:
        model: the module in training; its parameters with `requires_grad` are controlled.
        optimizer: any of `torch.optim` that steps from gradients at a learning rate, holding those
            parameters.
        policy: name of a shipped policy, path of a policy folder, or a `FrozenPolicy`.
        total_steps: optimizer steps that the training will take.
        steps_per_epoch: optimizer steps of one pass over the data, if known.
        batch_size: samples of an optimizer step, 32 if None; with `steps_per_epoch` it says how
            much data there is, which a matched start hangs on.
        steps_per_action: steps from decision to decision; `max(1, total_steps // 200)` if None.
        z_max: half-width of the envelope around the optimizer's own rate, octaves; the
            policy's if None. Fourteen where nobody knows the rate, two on top of a proven recipe.
        z_init: `matched`, `calibrated`, `cautious` or `zero` (the optimizer's own rate, without the
            policy's own schedule); the policy's if None.
        pretrained: whether the weights are pretrained; or the names of parameters and modules
            that are; or a function of a parameter's name. None: what transformers loaded from a
            checkpoint is; say so of weights that came another way.

    Raises:
        LrEnvError: one of its subclasses, for whatever of this cannot be used.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        policy: str | Path | FrozenPolicy = DEFAULT_POLICY,
        *,
        total_steps: int,
        steps_per_epoch: float | None = None,
        batch_size: int | None = None,
        steps_per_action: int | None = None,
        z_max: float | None = None,
        z_init: InitialScale | None = None,
        pretrained: Pretrained = None,
    ) -> None:
        check_model(model)
        model, optimizer = bare_model(model), bare_optimizer(optimizer)
        check_processes()
        check_optimizer(optimizer)
        if optimizer in _CONTROLLED:
            raise ModelError(
                "Another controller is at work on this optimizer: call its detach() first."
            )
        self.policy = resolve_policy(policy)
        check_horizon(total_steps, 1 if steps_per_action is None else steps_per_action)
        total_steps = plain(total_steps)
        if steps_per_epoch is not None:
            check_number("steps_per_epoch", steps_per_epoch)
            if not steps_per_epoch > 0:
                raise InvalidArgumentError(
                    f"steps_per_epoch must be above 0, not {steps_per_epoch}."
                )
        if batch_size is not None:
            check_count("batch_size", batch_size)
        envelope = self.policy.envelope
        self._instruments = Instruments(
            model,
            optimizer,
            total_steps=total_steps,
            steps_per_action=(
                default_steps_per_action(total_steps)
                if steps_per_action is None
                else plain(steps_per_action)
            ),
            envelope=envelope.around(z_max, z_init),
            steps_per_epoch=plain(steps_per_epoch),
            batch_size=plain(batch_size),
            is_pretrained=pretrained_names(model, pretrained),
        )
        self.history: list[Decision] = []
        self._model = model
        self._optimizer = optimizer
        self._void = False
        self._depth = 0
        self._remarks = Remarks(model, optimizer, self._instruments)
        # Before anything is attached: whoever turns warnings into errors is to be left nothing.
        self._remarks.at_the_beginning()
        _CONTROLLED.add(optimizer)
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            # A step that was broken off has left our rates in it.
            optimizer.register_state_dict_pre_hook(self._before_saving),
            optimizer.register_load_state_dict_pre_hook(self._before_loading),
        ]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers under control, in the order of the model's parameters."""
        return self._instruments.layers

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rate that the next step of every layer is made at, by layer name.

        Before the first step, in which the start is found, and from the last one on, where a
        schedule is at its end, it is of little use: `history` has what was decided.
        """
        rates = self._instruments.learning_rates
        return {layer.name: rate for layer, rate in zip(self.layers, rates, strict=True)}

    def observe(self, loss: Tensor | float) -> None:
        """Hand over the training loss of a mini-batch, between `backward` and `step`.

        With gradient accumulation, call it for every mini-batch of the step. After `detach` it
        does nothing.

        Raises:
            InvalidArgumentError: the loss is not one number.
            ModelError: this controller is a copy of the one that the optimizer calls.
        """
        if not self._handles:
            return
        if self._handles[0].id not in self._optimizer._optimizer_step_pre_hooks:
            raise ModelError(
                "This controller is a copy, which its optimizer does not call: make a new one for "
                "the copied model and optimizer, and load_state_dict() what state_dict() returns."
            )
        # Of a step that failed.
        self._depth = 0
        self._instruments.release()
        # Past the budget nothing is decided any more, and losses would only pile up.
        if self._instruments.step < self._instruments.total_steps:
            self._instruments.record_loss(_one_number(loss))
        self._remarks.at_a_loss()

    def observe_validation(self, loss: Tensor | float) -> None:
        """Hand over a validation loss whenever there is one (optional)."""
        value = float(_one_number(loss).detach())
        self._instruments.record_validation(value)
        self._remarks.at_a_validation_loss(value)

    def detach(self) -> None:
        """Leave the optimizer as it was found; its own rates hold from here on."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._instruments.release()
        _CONTROLLED.discard(self._optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs, as plain values and tensors.

        It holds two copies of the weights; save it beside the model's and optimizer's state.
        """
        return {
            "version": STATE_VERSION,
            "policy": self.policy.weights_sha256,
            "envelope": asdict(self._instruments.envelope),
            "instruments": self._instruments.state_dict(),
            "remarks": self._remarks.state_dict(),
            "history": [asdict(decision) for decision in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`, or raise and leave everything as it is.

        Raises:
            LrEnvError: it is of another model, policy or version, or damaged.
        """
        try:
            self._load(state)
        except LrEnvError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ModelError(
                "This controller state is damaged: what state_dict() returned is to be saved and "
                "handed over whole; go back to another checkpoint, or begin the training anew."
            ) from error

    def _load(self, state: dict[str, Any]) -> None:
        if state.get("version") != STATE_VERSION:
            raise InvalidArgumentError(
                f"This controller state is of version {state.get('version')}, not "
                f"{STATE_VERSION}: go on with the lr_env that wrote it."
            )
        if state.get("policy") != self.policy.weights_sha256:
            raise InvalidArgumentError(
                "This controller state was made with another policy: load that policy first."
            )
        # States of earlier versions do not say, or not all of it.
        own = asdict(self._instruments.envelope)
        saved = {**asdict(Envelope()), **(state.get("envelope") or own)}
        if saved != own:
            # A later version's state may know more of the envelope than this one does.
            apart = ", ".join(
                f"{name}={value!r}" for name, value in saved.items() if value != own.get(name)
            )
            raise InvalidArgumentError(
                f"This controller state was saved with {apart}: make the controller with the same."
            )
        history = [
            Decision(**{**entry, "learning_rates": tuple(entry["learning_rates"])})
            for entry in state["history"]
        ]
        self._instruments.load_state_dict(state["instruments"])
        self._remarks.load_state_dict(state.get("remarks", {}))
        self.history = history
        self._remarks.at_resuming(state["instruments"])

    # Whoever compiles optimizer.step compiles its hooks, too, and these are no arithmetic.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # An optimizer whose step calls that of its base class has both of them hooked.
        if self._depth > 0:
            self._depth += 1
            return
        if optimizer is not self._optimizer:
            raise ModelError(
                f"The optimizer that steps is not the {type(self._optimizer).__name__} that the "
                "controller was given, but one inside it: hand over that one."
            )
        check_step(optimizer, args, kwargs)
        self._void = step_is_void(optimizer)
        if self._void:
            self._instruments.forget_losses()
        else:
            self._prepare()
        self._depth = 1

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and not self._void:
            self._instruments.after_update()

    def _before_saving(self, optimizer: Optimizer) -> None:
        self._instruments.release()

    def _before_loading(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        self._depth = 0
        self._instruments.release()

    def _prepare(self) -> None:
        """Decide if it is time, and set the rates of the step that follows."""
        if self._instruments.decision_due:
            if self._instruments.step < self._instruments.total_steps:
                self._decide()
            else:
                self._remarks.at_the_end()
        self._instruments.before_update()

    def _decide(self) -> None:
        instruments = self._instruments
        loss = instruments.mean_loss()
        # Losses of steps that a gradient scaler left out are among them, and no others go on.
        if not math.isfinite(loss) and instruments.keep_finite_losses():
            loss = instruments.mean_loss()
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"The training loss is {loss} near step {instruments.step}: go back to the last "
                "checkpoint, and look for bad samples or numbers too large for the precision."
            )
        self._remarks.at_a_decision(loss)
        action = self.policy.act(instruments.observe())
        if instruments.step == 0:
            self._remarks.at_the_start()
        instruments.act(action)
        self.history.append(
            Decision(
                step=instruments.step,
                loss=loss,
                base_lr=instruments.base_rates[0],
                learning_rates=tuple(instruments.learning_rates),
            )
        )


def _one_number(loss: Any) -> Tensor:
    try:
        value = loss if isinstance(loss, Tensor) else torch.as_tensor(loss, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgumentError(f"The loss must be a number, not {loss!r}.") from error
    if value.numel() != 1:
        raise InvalidArgumentError(
            f"The loss must be one number, not {value.numel()}: hand over its mean, loss.mean()."
        )
    return value
