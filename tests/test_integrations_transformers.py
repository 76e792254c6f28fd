"""The callback in Hugging Face's Trainer: the losses, rates and decisions of a loop by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers  # lazily: its models need the integration's repair of torchvision
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments

from lr_env.controller import LRController
from lr_env.errors import ModelError, OutputError
from lr_env.integrations.transformers import STATE_FILE, LRControllerCallback
from lr_env.policy import FrozenPolicy
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from tests.toys import make_policy

ROWS, WIDTH, BATCH = 24, 5, 4


@pytest.fixture(scope="module")
def policy() -> FrozenPolicy:
    return make_policy()


class Classifier(nn.Module):
    """Returns loss and logits as a tuple; takes nothing but its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(WIDTH, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.head(torch.tanh(self.body(x)))
        return nn.functional.cross_entropy(logits, labels), logits


def build() -> Classifier:
    with IsolatedTorchRandomness(0, "model").use():
        return Classifier()


def rows() -> list[dict[str, Any]]:
    generator = torch_generator(0, "rows")
    inputs = torch.randn(ROWS, WIDTH, generator=generator)
    return [{"x": x, "labels": int(x[0] > 0)} for x in inputs]


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    given: dict[str, Any] = {
        "output_dir": str(folder), "per_device_train_batch_size": BATCH, "num_train_epochs": 2,
        "learning_rate": 0.01, "lr_scheduler_type": "linear", "warmup_steps": 2,
        "weight_decay": 0.01, "max_grad_norm": 0.5, "use_cpu": True, "report_to": "none",
        "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "seed": 0,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    return TrainingArguments(**{**given, **changes})


def train(
    folder: Path, policy: FrozenPolicy, model: nn.Module | None = None, **changes: Any
) -> tuple[Any, LRControllerCallback]:
    callback = LRControllerCallback(policy, z_max=4.0)
    trainer = transformers.Trainer(
        model or build(), arguments(folder, **changes), train_dataset=rows(), callbacks=[callback]
    )
    with IsolatedTorchRandomness(0, "trainer").use():
        trainer.train()
    return trainer, callback


class Order(TrainerCallback):  # type: ignore[misc]
    """Writes down the batches that the model is given."""

    def __init__(self, model: nn.Module) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []
        model.register_forward_pre_hook(
            lambda module, args, given: self.batches.append((given["x"], given["labels"])),
            with_kwargs=True,
        )


@pytest.mark.parametrize("accumulation", [1, 2])
def test_equals_a_loop_by_hand(tmp_path: Path, policy: FrozenPolicy, accumulation: int) -> None:
    model = build()
    order = Order(model)
    _, callback = train(tmp_path, policy, model, gradient_accumulation_steps=accumulation)
    assert callback.controller is not None
    own = build()
    steps = 2 * ROWS // BATCH // accumulation
    decay = [p for name, p in own.named_parameters() if "bias" not in name]
    rest = [p for name, p in own.named_parameters() if "bias" in name]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=0.01
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: s / 2 if s < 2 else (steps - s) / (steps - 2)
    )
    controller = LRController(
        own, optimizer, policy, total_steps=steps, z_max=4.0,
        steps_per_epoch=ROWS / BATCH / accumulation,
    )  # fmt: skip
    for step in range(steps):
        losses = [own(*order.batches[step * accumulation + i])[0] for i in range(accumulation)]
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(own.parameters(), 0.5)
        controller.observe(loss)
        optimizer.step()
        scheduler.step()
    assert len(controller.history) == len(callback.controller.history) == steps
    for ours, theirs in zip(controller.history, callback.controller.history, strict=True):
        assert theirs.loss == pytest.approx(ours.loss, rel=1e-5)
        assert theirs.learning_rates == pytest.approx(ours.learning_rates, rel=1e-4)
    for p, q in zip(own.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_loss_is_the_one_that_the_trainer_logs(
    tmp_path: Path, policy: FrozenPolicy, accumulation: int
) -> None:
    # BERT takes num_items_in_batch: the Trainer then sums its mini-batches' losses.
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=8, num_labels=2,
    )  # fmt: skip
    with IsolatedTorchRandomness(0, "bert").use():
        model = transformers.BertForSequenceClassification(config)
        data = [{"input_ids": torch.randint(20, (6,)), "labels": i % 2} for i in range(ROWS)]
        callback = LRControllerCallback(policy)
        trainer = transformers.Trainer(
            model, arguments(tmp_path, gradient_accumulation_steps=accumulation),
            train_dataset=data, eval_dataset=data, callbacks=[callback],
        )  # fmt: skip
        trainer.args.eval_strategy = "steps"
        trainer.args.eval_steps = 1
        trainer.train()
    assert callback.controller is not None
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    seen = [decision.loss for decision in callback.controller.history]
    assert len(seen) == len(logged) == 2 * ROWS // BATCH // accumulation
    assert seen == pytest.approx(logged, rel=1e-5)
    assert len(callback.controller.layers) == len({
        name.rpartition(".")[0] for name, _ in model.named_parameters()
    })  # fmt: skip


def test_leaves_model_and_optimizer_as_they_were_found(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    trainer, callback = train(tmp_path, policy)
    inner = trainer.optimizer.optimizer
    assert not inner._optimizer_step_pre_hooks
    assert not inner._optimizer_step_post_hooks
    assert not trainer.model._forward_hooks
    assert len(inner.param_groups) == 2
    with IsolatedTorchRandomness(0, "again").use():
        trainer.train()
    assert callback.controller is not None
    assert callback.controller.history[0].step == 0


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    _, whole = train(tmp_path / "a", policy, save_strategy="steps", save_steps=5)
    first = tmp_path / "a" / "checkpoint-5"
    assert (first / STATE_FILE).exists()
    callback = LRControllerCallback(policy, z_max=4.0)
    settings = arguments(tmp_path / "a", save_strategy="no")
    trainer = transformers.Trainer(build(), settings, train_dataset=rows(), callbacks=[callback])
    with IsolatedTorchRandomness(0, "trainer").use():
        trainer.train(resume_from_checkpoint=str(first))
    assert callback.controller is not None
    assert whole.controller is not None
    assert len(callback.controller.history) == len(whole.controller.history)
    for ours, theirs in zip(callback.controller.history, whole.controller.history, strict=True):
        assert ours.learning_rates == pytest.approx(theirs.learning_rates, rel=1e-5)


def test_the_checkpoint_is_the_one_that_the_arguments_name(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    _, whole = train(tmp_path / "a", policy, save_strategy="steps", save_steps=5)
    # Another training's checkpoint of the same step, where one would be looked for.
    train(tmp_path / "b", policy, save_strategy="steps", save_steps=5, learning_rate=0.1)
    first = tmp_path / "moved"
    (tmp_path / "a" / "checkpoint-5").rename(first)
    settings = arguments(tmp_path / "b", resume_from_checkpoint=str(first))

    def resume(path: str) -> list[Any]:
        callback = LRControllerCallback(policy, z_max=4.0)
        trainer = transformers.Trainer(
            build(), settings, train_dataset=rows(), callbacks=[callback]
        )
        with IsolatedTorchRandomness(0, "trainer").use():
            trainer.train(resume_from_checkpoint=path)
        assert callback.controller is not None
        return callback.controller.history

    assert whole.controller is not None
    for ours, theirs in zip(resume(str(first)), whole.controller.history, strict=True):
        assert ours.learning_rates == pytest.approx(theirs.learning_rates, rel=1e-5)
    # A path of another step is left over from an earlier resume.
    assert len(resume(str(tmp_path / "b" / "checkpoint-10"))) == len(whole.controller.history)


def test_the_state_of_another_training_is_refused(tmp_path: Path, policy: FrozenPolicy) -> None:
    for name, rate in (("a", 0.01), ("b", 0.1)):
        train(tmp_path / name, policy, save_strategy="steps", save_steps=5, learning_rate=rate)
    # The Trainer tells callbacks no path, and where one is looked for lies the other's.
    callback = LRControllerCallback(policy, z_max=4.0)
    trainer = transformers.Trainer(
        build(), arguments(tmp_path / "b"), train_dataset=rows(), callbacks=[callback]
    )
    with pytest.raises(ModelError, match="belongs to another training"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-5"))
    assert not trainer.model._forward_hooks


def test_a_checkpoint_without_the_controller_is_refused(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    train(tmp_path, policy, save_strategy="steps", save_steps=5)
    (tmp_path / "checkpoint-5" / STATE_FILE).unlink()
    trainer = transformers.Trainer(
        build(), arguments(tmp_path), train_dataset=rows(), callbacks=[LRControllerCallback(policy)]
    )
    with pytest.raises(ModelError, match="saved with this callback"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


@pytest.mark.parametrize("observed", [False, True])
def test_evaluation_losses_are_handed_over_where_that_is_asked_for(
    tmp_path: Path, policy: FrozenPolicy, monkeypatch: pytest.MonkeyPatch, observed: bool
) -> None:
    seen: list[float] = []
    monkeypatch.setattr(LRController, "observe_validation", lambda own, loss: seen.append(loss))
    trainer = transformers.Trainer(
        build(), arguments(tmp_path, eval_strategy="steps", eval_steps=3), train_dataset=rows(),
        eval_dataset=rows(), callbacks=[LRControllerCallback(policy, observe_evaluations=observed)],
    )  # fmt: skip
    trainer.train()
    logged = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert len(logged) == 4
    assert seen == (logged if observed else [])
    trainer.evaluate()
    assert len(seen) == (4 if observed else 0)


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"PK\x03\x04 cut off", b"junk", b"junk\n", b"plain"]
)
def test_a_damaged_state_of_the_controller_is_one_sentence(
    tmp_path: Path, policy: FrozenPolicy, data: bytes
) -> None:
    train(tmp_path, policy, save_strategy="steps", save_steps=5)
    (tmp_path / "checkpoint-5" / STATE_FILE).write_bytes(data)
    trainer = transformers.Trainer(
        build(), arguments(tmp_path), train_dataset=rows(), callbacks=[LRControllerCallback(policy)]
    )
    with pytest.raises(OutputError, match="is damaged"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert not trainer.model._forward_hooks


def test_a_model_that_returns_no_loss_is_one_sentence(tmp_path: Path, policy: FrozenPolicy) -> None:
    trainer = transformers.Trainer(
        build(), arguments(tmp_path), train_dataset=rows(),
        callbacks=[LRControllerCallback(policy)],
        compute_loss_func=lambda outputs, labels, num_items_in_batch=None: outputs[1].sum(),
    )  # fmt: skip
    trainer.model.forward = lambda x, labels=None: (None, build().head(x.new_ones(4, 8)))
    with pytest.raises(ModelError, match="returned no loss to the Trainer"):
        trainer.train()


def test_what_is_pretrained_is_known_from_the_checkpoint(
    tmp_path: Path, policy: FrozenPolicy, encoder: Path
) -> None:
    kind = transformers.BertForSequenceClassification
    model = kind.from_pretrained(encoder, num_labels=2)
    data = [{"input_ids": torch.tensor([2, 5, 3]), "labels": i % 2} for i in range(ROWS)]
    callback = LRControllerCallback(policy)
    transformers.Trainer(
        model, arguments(tmp_path), train_dataset=data, callbacks=[callback]
    ).train()
    assert callback.controller is not None
    pretrained = {layer.name for layer in callback.controller.layers if layer.pretrained}
    fresh = {layer.name for layer in callback.controller.layers if not layer.pretrained}
    assert fresh == {"classifier"}
    assert "bert.embeddings.word_embeddings" in pretrained


def test_several_processes_are_refused(tmp_path: Path, policy: FrozenPolicy) -> None:
    class Several:
        world_size, n_gpu = 2, 1

    with pytest.raises(ModelError, match="one process and one device"):
        LRControllerCallback(policy).on_train_begin(Several(), None, None)  # type: ignore[arg-type]


def test_the_batch_size_is_that_which_fitted(tmp_path: Path, policy: FrozenPolicy) -> None:
    class Large(Classifier):
        def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            if len(x) > BATCH // 2:
                raise RuntimeError("CUDA out of memory.")
            return super().forward(x, labels)

    model = Large()
    trainer, callback = train(tmp_path, policy, model, auto_find_batch_size=True)
    assert callback.controller is not None
    told = callback.controller.state_dict()["instruments"]["batch_size"]
    assert told == trainer._train_batch_size == BATCH // 2


def test_nothing_is_written_where_the_trainer_writes_no_checkpoint(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    callback = LRControllerCallback(policy)
    trainer = transformers.Trainer(
        build(), arguments(tmp_path), train_dataset=rows(), callbacks=[callback]
    )
    # As in the trials of a hyperparameter search, which have folders of their own.
    trainer._save_checkpoint = lambda model, trial: (tmp_path / "run-0").mkdir(exist_ok=True)
    trainer.args.save_strategy, trainer.args.save_steps = "steps", 2
    trainer.train()
    assert [path.name for path in tmp_path.iterdir()] == ["run-0"]
