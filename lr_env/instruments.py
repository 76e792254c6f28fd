"""The instruments of one training: what an agent sees of it, and the rates that it sets.

The environment and the controller in a user's script both fly by these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lr_env import decisions
from lr_env.action import Envelope, Scope
from lr_env.controllable import check_closure
from lr_env.dry_run import dry_run
from lr_env.errors import InvalidArgumentError, ModelError
from lr_env.layers import Layer, LayerTable, group_layers
from lr_env.look import look
from lr_env.observation import Memory, Signals
from lr_env.rates import LayerRates
from lr_env.statistics import LayerStatistics

USUAL_BATCH = 32
"""Samples of an update where nobody says how many."""


class Instruments:
    """Reads one module and its optimizer, and writes the optimizer's rates layer by layer.

    Around every update: `record_loss`, then at a decision (`decision_due`) `observe` and `act`,
    then `before_update`, the optimizer's step, `after_update`.

    Raises:
        ModelError: no trainable parameters, an optimizer that lacks some of them, or one that
            needs a closure.
        InvalidArgumentError: a horizon below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        total_steps: int,
        steps_per_action: int,
        envelope: Envelope,
        steps_per_epoch: float | None = None,
        batch_size: int | None = None,
        is_pretrained: Callable[[str], bool] = lambda name: False,
    ) -> None:
        decisions.check_horizon(total_steps, steps_per_action)
        check_closure(optimizer)
        self.layers: tuple[Layer, ...] = group_layers(model, is_pretrained)
        self.envelope = envelope
        self.total_steps = total_steps
        self.steps_per_action = steps_per_action
        self.steps_per_epoch = steps_per_epoch
        self._batch_size = USUAL_BATCH if batch_size is None else batch_size
        self.step = 0
        self._model = model
        self._optimizer = optimizer
        self._rates = LayerRates(model, self.layers, optimizer)
        self._statistics = LayerStatistics(model, self.layers, optimizer)
        self._next_decision = 0
        self._losses: list[Tensor] = []
        self._of_made_steps = 0
        self._validation_loss = float("nan")
        dtype = next(model.parameters()).dtype
        self._dtype = dtype if dtype == torch.float64 else torch.float32
        self._table = LayerTable.of(self.layers, self._dtype)
        self._memory = Memory.empty((), len(self.layers), self._table.size)
        self._z = torch.zeros_like(self._table.size)
        self._scope = Scope.unknown(self._z, envelope.z_max)

    @property
    def decision_due(self) -> bool:
        """Whether the next update waits for a decision."""
        return self.step == self._next_decision

    @property
    def z(self) -> Tensor:
        """The log2 scale of every layer `[L]`."""
        return self._z

    @property
    def base_rates(self) -> list[float]:
        """Today's unscaled rate of every layer."""
        return self._rates.base()

    @property
    def reference_rates(self) -> list[float]:
        """The rate of every layer that the optimizer's schedule, if any, is made of."""
        return self._rates.reference()

    @property
    def others(self) -> int:
        """Parameters that the optimizer moves at its own rates: they are not the model's."""
        return self._rates.others

    @property
    def still(self) -> bool:
        """Whether the last update that was looked at changed nothing of any layer."""
        return self._statistics.still

    @property
    def learning_rates(self) -> list[float]:
        """The rate that the next update of every layer is made at."""
        return [b * s for b, s in zip(self._rates.base(), self._scales(), strict=True)]

    def record_loss(self, loss: Tensor) -> None:
        """Hand over a mini-batch's training loss (a scalar; kept detached, on its device)."""
        self._losses.append(loss.detach().to(self._dtype).reshape(()).clone())

    def record_validation(self, loss: float) -> None:
        """Hand over a validation loss; it counts until the next one."""
        self._validation_loss = float(loss)

    def mean_loss(self) -> float:
        """Return the mean loss of the mini-batches since the last decision.

        Raises:
            ModelError: none was handed over.
        """
        if not self._losses:
            raise ModelError(
                "No loss was handed over since the last decision: call controller.observe(loss) "
                "after loss.backward() and before optimizer.step()."
            )
        return float(self._mean_loss())

    def keep_finite_losses(self) -> bool:
        """Forget pending losses that are not finite; return whether any is left."""
        self._losses = [loss for loss in self._losses if bool(torch.isfinite(loss))]
        return bool(self._losses)

    def forget_losses(self) -> None:
        """Forget the losses since the last update: their step is not made."""
        del self._losses[self._of_made_steps :]

    def observe(self) -> Tensor:
        """Return the observation `[L, F]` of this decision, with the pending gradient in place."""
        self._rates.check_model(self._model)
        if self.step == 0:
            # The model may have been moved or loaded since these were made.
            self._statistics.begin()
            self._statistics.probe(dry_run(self._optimizer), self._rates.reference())
        sight = look(self._memory, self._signals(), self._scope, self.envelope, self._table)
        self._memory, self._scope, self._z = sight.memory, sight.scope, sight.z
        self._losses.clear()
        self._of_made_steps = 0
        return sight.observation

    def act(self, action: Tensor) -> None:
        """Take the decision `action` `[L]`, in [-1, 1]."""
        self._z = self.envelope.move(self._z, action.to(self._z), self._scope)
        self._next_decision += self.interval()

    def interval(self) -> int:
        """Return the number of updates from this decision to the next."""
        return decisions.interval(self.step, self.steps_per_action, self.total_steps)

    def before_update(self) -> None:
        """Set the layers' rates for one step of the optimizer."""
        self._rates.apply(self._scales())
        if self.step + 1 == self._next_decision:
            self._statistics.before_update()

    def after_update(self) -> None:
        """Take the layers' rates back, and count the update."""
        rates = self.learning_rates
        self._rates.restore()
        self.step += 1
        self._of_made_steps = len(self._losses)
        if self.step == self._next_decision:
            self._statistics.after_update(rates)

    def release(self) -> None:
        """Leave the optimizer as it was found."""
        self._rates.restore()

    def _mean_loss(self) -> Tensor:
        # Losses of a checkpoint that was read onto the CPU lie beside the device's own.
        device = self._losses[-1].device
        return torch.stack([loss.to(device) for loss in self._losses]).mean()

    def _scales(self) -> list[float]:
        return (self._z.exp2() * self._factor()).tolist()

    def _factor(self) -> float:
        return self.envelope.factor(self.step, self.total_steps)

    def _signals(self) -> Signals:
        def scalar(value: float) -> Tensor:
            return torch.tensor(value, dtype=self._dtype, device="cpu")

        def row(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=self._dtype, device="cpu")

        total_steps = scalar(self.total_steps)
        epochs = samples = scalar(float("nan"))
        if self.steps_per_epoch:
            epochs = scalar(self.step / self.steps_per_epoch)
            samples = decisions.samples_met(total_steps, self.steps_per_epoch, self._batch_size)
        return Signals(
            raw=self._statistics.read(),
            loss=self._mean_loss().cpu(),
            step=scalar(self.step),
            total_steps=total_steps,
            samples=samples,
            interval=scalar(self.interval()),
            base_lr=row(self._rates.base()) * self._factor(),
            reference_lr=row(self._rates.reference()),
            z=self._z,
            z_max=scalar(self.envelope.z_max),
            epochs=epochs,
            validation_loss=scalar(self._validation_loss),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs, as plain values and tensors."""
        return {
            "step": self.step,
            "next_decision": self._next_decision,
            "z": self._z.clone(),
            "scope": self._scope.state_dict(),
            "memory": dict(vars(self._memory)),
            "losses": [loss.clone() for loss in self._losses],
            "validation_loss": self._validation_loss,
            "statistics": self._statistics.state_dict(),
            "layers": [layer.name for layer in self.layers],
            **self.setting,
        }

    @property
    def setting(self) -> dict[str, Any]:
        """What a training was said to be like, as plain values."""
        return {
            "total_steps": self.total_steps,
            "steps_per_action": self.steps_per_action,
            "steps_per_epoch": self.steps_per_epoch,
            "batch_size": self._batch_size,
            "pretrained": [layer.name for layer in self.layers if layer.pretrained],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, or raise and leave everything as it is.

        Raises:
            ModelError: it is of another model.
            InvalidArgumentError: it has more steps behind it than this training is to take.
        """
        if state["layers"] != [layer.name for layer in self.layers]:
            raise ModelError(
                "This controller state belongs to a model with other layers: load it into the "
                "model that it was saved with."
            )
        if "scope" not in state:
            raise ModelError(
                "This controller state was written by an older version: go on with that version, "
                "or begin the training anew."
            )
        step = int(state["step"])
        if step > self.total_steps:
            raise InvalidArgumentError(
                f"This controller state has {step} steps behind it, more than total_steps, "
                f"{self.total_steps}: hand over the number of steps of the whole training."
            )
        # A training that had overrun its steps was past the decision that never came.
        next_decision = max(int(state["next_decision"]), step)
        # A checkpoint may have been read onto the model's device; these live on the CPU.
        z = state["z"].to(self._z, copy=True)
        scope = Scope.from_state({name: own.to(z) for name, own in state["scope"].items()})
        memory = Memory(**{name: own.to(z) for name, own in state["memory"].items()})
        losses = [loss.clone() for loss in state["losses"]]
        validation_loss = float(state["validation_loss"])
        # The first that changes anything, and itself whole or not at all.
        self._statistics.load_state_dict(state["statistics"])
        self.step, self._next_decision = step, next_decision
        self._z, self._scope, self._memory = z, scope, memory
        self._losses, self._validation_loss = losses, validation_loss
        self._of_made_steps = len(losses)
