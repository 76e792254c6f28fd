"""The controller in Hugging Face's Trainer, as a callback."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lr_env import files
from lr_env.action import InitialScale
from lr_env.controller import LRController
from lr_env.errors import LrEnvError, ModelError
from lr_env.policy import DEFAULT_POLICY, FrozenPolicy
from lr_env.pretrained import Pretrained
from lr_env.tasks.torchvision_import import import_torchvision

__all__ = ["LRControllerCallback", "LossTap"]

if find_spec("torchvision") is not None:
    # transformers imports it with its models, and fails where its build does not fit torch's.
    import_torchvision()

STATE_FILE = "lr_controller.pt"
TRAINER_STATE_NAME = "trainer_state.json"
"""The Trainer's own name of it; importing it from there takes seconds."""
NO_LOSS = (
    "The model returned no loss to the Trainer, as with label smoothing or a compute_loss_func of "
    "your own: let the model compute its loss from the labels, or use LRController in a loop of "
    "your own."
)


class LossTap:
    """Reads the training loss of every optimizer step from what the model returns.

    The Trainer hands no loss to callbacks. It steps from the sum of its mini-batches' losses
    where it told the model `num_items_in_batch`, and from their mean everywhere else.
    """

    def __init__(self, model: nn.Module) -> None:
        self._losses: list[Tensor] = []
        self._summed = False
        self._model = model
        self._handle = model.register_forward_hook(self._read, with_kwargs=True)

    def weights_hash(self) -> str:
        """Return the SHA-256 of the model's parameters."""
        digest = hashlib.sha256()
        for parameter in self._model.parameters():
            plain = parameter.detach().cpu().contiguous().flatten()
            digest.update(plain.view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def take(self) -> Tensor:
        """Return the loss of the step whose gradient is pending, and forget it.

        Raises:
            ModelError: the model returned none.
        """
        if not self._losses:
            raise ModelError(NO_LOSS)
        losses = torch.stack(self._losses)
        self._losses.clear()
        return losses.sum() if self._summed else losses.mean()

    def remove(self) -> None:
        """Leave the model as it was found."""
        self._handle.remove()

    def _read(
        self, model: nn.Module, args: Any, arguments: Mapping[str, Any], outputs: Any
    ) -> None:
        # Evaluations use the same model, between the steps.
        if not (model.training and torch.is_grad_enabled()):
            return
        loss = _loss_in(outputs)
        if loss is not None:
            self._losses.append(loss.detach())
            self._summed = arguments.get("num_items_in_batch") is not None


def _loss_in(outputs: Any) -> Tensor | None:
    """Return the loss in a model's outputs, which may be a mapping or a tuple."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
    if loss is None and isinstance(outputs, tuple) and outputs:
        loss = outputs[0]
    return loss if isinstance(loss, Tensor) and loss.ndim == 0 else None


class LRControllerCallback(TrainerCallback):  # type: ignore[misc]
    """Sets the learning rate of every layer while a `Trainer` trains.

    ```python
    arguments = TrainingArguments("out", lr_scheduler_type="constant")
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[LRControllerCallback()])
    ```

    The Trainer's gradient clipping and accumulation stay as they are, and with `z_init="zero"` its
    scheduler (a policy with a schedule of its own comes on top of any other): the controller scales
    the scheduler's rate, and reads the gradients that the step is made from. Beside every
    checkpoint it writes its state, from which a resumed training goes on.

    Args:
        policy: name of a shipped policy, path of a policy folder, or a `FrozenPolicy`.
        steps_per_action: steps from decision to decision; see `LRController`.
        z_max: half-width of the envelope around the scheduler's rate, octaves: two on top of a
            proven recipe, fourteen where nobody knows the rate; the policy's if None.
        z_init: `matched`, `calibrated`, `cautious` or `zero`; see `LRController`.
        pretrained: whether weights are pretrained, the names of those that are, or a function of
            the name; if None, what was loaded from a checkpoint is.
        observe_evaluations: whether to hand over the `eval_loss` of the Trainer's evaluations;
            say so where there are some 20 of them in a training, as the policy is used to.

    Attributes:
        controller: the `LRController` of the last training, with its history; None before it.

    Raises:
        ModelError: several processes or GPUs train one model, or the model returns no loss.
    """

    def __init__(
        self,
        policy: str | Path | FrozenPolicy = DEFAULT_POLICY,
        *,
        steps_per_action: int | None = None,
        z_max: float | None = None,
        z_init: InitialScale | None = None,
        pretrained: Pretrained = None,
        observe_evaluations: bool = False,
    ) -> None:
        self.controller: LRController | None = None
        self._observe_evaluations = observe_evaluations
        self._policy = policy
        self._pretrained = pretrained
        self._options: dict[str, Any] = {
            "steps_per_action": steps_per_action, "z_max": z_max, "z_init": z_init,
        }  # fmt: skip
        self._tap: LossTap | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Attach a controller to the model and optimizer of this training."""
        self._release()
        if args.world_size > 1 or args.n_gpu > 1:
            raise ModelError(
                "The controller is made for one process and one device: train with one, by "
                "CUDA_VISIBLE_DEVICES=0 if the machine has several GPUs."
            )
        model = given["model"]
        self.controller = LRController(
            model,
            given["optimizer"],
            self._policy,
            total_steps=state.max_steps,
            steps_per_epoch=_steps_per_epoch(given.get("train_dataloader"), args),
            batch_size=_batch_size(args, state) * int(args.gradient_accumulation_steps),
            pretrained=self._pretrained,
            **self._options,
        )
        self._tap = LossTap(model)
        if state.global_step > 0:
            self._resume(_resumed_checkpoint(args, state) / STATE_FILE)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Hand the step's loss to the controller, after gradients were clipped."""
        if self.controller is not None and self._tap is not None:
            self.controller.observe(self._tap.take())

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Hand the validation loss to the controller, if it is to see it."""
        loss = given.get("metrics", {}).get("eval_loss")
        if not self._observe_evaluations or self._tap is None or loss is None:
            return
        if self.controller is not None:
            self.controller.observe_validation(loss)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Write the controller's state beside the Trainer's."""
        folder = _checkpoint(args, state)
        if args.save_only_model or not folder.is_dir():
            # The trials of a hyperparameter search have theirs elsewhere, and are not resumed.
            return
        if self.controller is not None and self._tap is not None:
            buffer = io.BytesIO()
            state_dict = {**self.controller.state_dict(), "weights": self._tap.weights_hash()}
            torch.save(state_dict, buffer)
            files.write_bytes(folder / STATE_FILE, buffer.getvalue())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Leave model and optimizer as they were found."""
        self._release()

    def _release(self) -> None:
        if self._tap is not None:
            self._tap.remove()
            self._tap = None
            if self.controller is not None:
                self.controller.detach()

    def _resume(self, path: Path) -> None:
        if self.controller is None:
            return
        try:
            saved = files.read_tensors(path, "resume from another checkpoint, or begin anew.")
            self._check_weights(saved, path)
            self.controller.load_state_dict(saved)
        except FileNotFoundError as error:
            self._release()
            raise ModelError(
                f"The training is resumed, but {path} is not there: resume from a checkpoint that "
                "was saved with this callback (give one outside output_dir to TrainingArguments, "
                "too, as resume_from_checkpoint), or begin anew."
            ) from error
        except LrEnvError:
            self._release()
            raise

    def _check_weights(self, saved: Any, path: Path) -> None:
        """Raise ModelError for the state of a training that had other weights at this step."""
        # Earlier versions did not write them down.
        known = saved.get("weights") if isinstance(saved, Mapping) else None
        if known is not None and self._tap is not None and known != self._tap.weights_hash():
            raise ModelError(
                f"{path} belongs to another training than the weights: give the checkpoint to "
                "TrainingArguments, too, as resume_from_checkpoint, or begin anew."
            )


def _steps_per_epoch(loader: Any, args: TrainingArguments) -> float | None:
    try:
        return max(1.0, len(loader) / int(args.gradient_accumulation_steps))
    except TypeError:
        return None  # a stream has no length


def _batch_size(args: TrainingArguments, state: TrainerState) -> int:
    """Return the samples of a mini-batch, which the Trainer may have made smaller to fit."""
    found = state.train_batch_size if args.auto_find_batch_size else None
    return int(found or args.train_batch_size)


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def _resumed_checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """Return the folder that the training goes on from, as far as a callback is told.

    The Trainer keeps what `train` was given to itself; scripts hand it the arguments' own path,
    which is believed where it is a checkpoint of this step.
    """
    named = args.resume_from_checkpoint
    if isinstance(named, str):
        try:
            known = TrainerState.load_from_json(str(Path(named) / TRAINER_STATE_NAME))
        except (OSError, ValueError, TypeError):
            known = None
        if known is not None and known.global_step == state.global_step:
            return Path(named)
    return _checkpoint(args, state)
