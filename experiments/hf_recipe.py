"""Recipe hf-warmup: a run in Hugging Face's Trainer, as the experiment plan's report did it.

Linear warm-up over 500 steps and linear decay, AdamW with weight decay 0.01, gradients clipped at
1, learning rate 5e-5, batch 16, one epoch. Below paper scale the warm-up is the same share of the
steps as 500 are of the plan's epoch in batches of that size. Arms of a seed share rows, initial
weights, order and dropout.
"""

from __future__ import annotations

import math
import tempfile
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from experiments.arms.agent import Clock
from experiments.devices import seeded
from experiments.engines import Report, silent
from experiments.runs import RunSpec, finite, load_policy, rates_of
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks import Split, Task, make_task

WARMUP_STEPS = 500
PAPER_SAMPLES = 25_000
"""IMDB's training reviews, over which the plan's one epoch goes."""
WEIGHT_DECAY = 0.01
REPORTED = (
    "eval_loss", "eval_accuracy", "eval_runtime", "eval_samples_per_second",
    "eval_steps_per_second", "epoch",
)  # fmt: skip
"""What the plan's report gives of every training."""
PLAN_ACCURACY, PLAN_LOSS = 0.856, 0.432
"""What the plan's report says of 500 IMDB reviews after one epoch."""
_NO_SCORES = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
_EVAL_BATCH = 32

Row = dict[str, Tensor]


def warmup_steps(scale: str, total_steps: int, batch_size: int) -> int:
    """Return the steps of warm-up: 500 at paper scale, below it the same share of fewer steps."""
    if scale == "paper":
        return min(WARMUP_STEPS, total_steps)
    plan = math.ceil(PAPER_SAMPLES / batch_size)
    return round(total_steps * min(1.0, WARMUP_STEPS / plan))


def run_in_trainer(spec: RunSpec, report: Report = silent) -> dict[str, Any]:
    """Train in the Trainer, and return the run's record with the Trainer's own figures.

    Validation data is read at 20 fixed points; test data once, by `Trainer.evaluate`.
    """
    from experiments.trainer_callbacks import DivergedError, Readings, TimedController

    task = make_task(spec.task, seed=spec.seed, **spec.task_arguments)
    with IsolatedTorchRandomness(spec.seed, "model").use():
        model = task.build_model()
    readings, clock = Readings(spec, task, report), Clock()
    callbacks: list[Any] = [readings]
    controller = None
    policy = load_policy(spec)
    if policy is not None:
        controller = TimedController(clock, spec.arm, policy, task.is_pretrained)
        callbacks.append(controller)
    diverged_at = None
    with tempfile.TemporaryDirectory() as folder, seeded(spec.seed, "training", spec.device):
        trainer = build_trainer(spec, task, model, folder, callbacks)
        started = time.perf_counter()
        try:
            trainer.train()
        except DivergedError as stop:
            diverged_at = stop.step
        seconds = time.perf_counter() - started - readings.seconds
        figures = trainer.evaluate(rows_of(task, "test")) if spec.read_test else {}
    total = int(trainer.state.max_steps)
    steps = total if diverged_at is None else diverged_at
    known = controller.controller if controller else None
    return {
        "arm": spec.arm.name,
        "lr": spec.arm.lr,
        "seed": spec.seed,
        "task": task.describe(),
        "device": spec.device,
        "diverged_at_step": diverged_at,
        "total_steps": total,
        "points": readings.points,
        "test": {
            name.removeprefix("eval_"): finite(value)
            for name, value in figures.items()
            if name.startswith("eval_") and name not in _NO_SCORES
        },
        "seconds": seconds,
        "controller_seconds": clock.seconds,
        "samples_per_second": steps * spec.batch_size / max(seconds, 1e-9),
        "learning_rates": rates_of(known) if known else None,
        "trainer": {name: finite(figures[name]) for name in REPORTED if name in figures},
    }


def build_trainer(
    spec: RunSpec, task: Task, model: nn.Module, folder: str, callbacks: list[Any]
) -> Any:
    """Return the Trainer with the recipe's settings; `folder` is for what it insists to write."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    rows = rows_of(task, "train")
    total = spec.epochs * math.ceil(len(rows) / spec.batch_size)
    arguments = TrainingArguments(
        output_dir=folder,
        learning_rate=spec.arm.lr,
        lr_scheduler_type=spec.arm.method.schedule,
        warmup_steps=warmup_steps(spec.scale, total, spec.batch_size),
        weight_decay=WEIGHT_DECAY,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=_EVAL_BATCH,
        num_train_epochs=spec.epochs,
        seed=spec.seed,
        use_cpu=spec.device == "cpu",
        dataloader_pin_memory=spec.device != "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=_padded,
        compute_metrics=lambda found: _scores(task, found),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # the grid's own progress is enough
    return trainer


def rows_of(task: Task, split: Split) -> list[Row]:
    """Return a text task's `split` as the rows that a Trainer's data set is made of."""
    rows = []
    for batch in task.batches(split, _EVAL_BATCH):
        for ids, mask, label in zip(
            batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
        ):
            rows.append({"input_ids": ids[mask.bool()], "labels": label})
    return rows


def _padded(rows: list[Row]) -> Row:
    """Return rows as a batch; what the fill is does not matter behind the mask."""
    ids = [row["input_ids"] for row in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(own) for own in ids], batch_first=True),
        "labels": torch.stack([row["labels"] for row in rows]),
    }


def _scores(task: Any, found: Any) -> dict[str, float]:
    """Return the task's own scores of the Trainer's predictions."""
    scores: dict[str, float] = task.scores(
        torch.as_tensor(found.predictions), torch.as_tensor(found.label_ids)
    )
    return scores
