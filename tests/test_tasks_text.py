"""IMDB and SST-2: token ids, padding, what is pretrained, and models that are none."""

import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import gymnasium
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import f1_score, precision_score, recall_score
from torch import nn

from lr_env.errors import DataError, InvalidArgumentError
from lr_env.observation import FEATURES
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks import make_task
from lr_env.tasks.sst2 import Sst2
from lr_env.testing import check_task
from tests import hub

pytestmark = pytest.mark.usefixtures("own_data_cache")
NAMES = ("imdb", "sst2")


@pytest.fixture
def make(data_root: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> partial[Any]:
    monkeypatch.setenv("LR_ENV_DATA", str(data_root))
    return partial(make_task, scale="smoke", model=encoder)


def build(task: Any) -> nn.Module:
    with IsolatedTorchRandomness(0, "model").use():
        model: nn.Module = task.build_model()
    return model


@pytest.mark.parametrize("name", NAMES)
def test_the_tasks_keep_their_promises(name: str, make: partial[Any]) -> None:
    check_task(partial(make, name))


@pytest.mark.parametrize(("name", "test"), [("imdb", "test"), ("sst2", "validation")])
def test_the_description_names_rows_model_and_scale(
    name: str, test: str, make: partial[Any]
) -> None:
    about = make(name, seed=0).describe()
    assert about["rows"] == {
        "train": "32 of 80 in train",
        "validation": "16 of 80 in train",
        "test": f"16 of 40 in {test}",
    }
    assert (about["scale"], about["source"], about["model"]) == ("smoke", name, "tiny-bert")
    labels = make(name, seed=0)._labels
    assert {split: own.bincount().tolist() for split, own in labels.items()} == {
        "train": [16, 16], "validation": [8, 8], "test": [8, 8],
    }  # fmt: skip


def test_batches_hold_the_words_padded_to_the_longest(make: partial[Any], encoder: Path) -> None:
    words = (encoder / "vocab.txt").read_text().split()
    task = make("imdb", seed=0)
    known = {
        " ".join(text.split()): label for text, label in zip(*hub.sentences(40, 1), strict=True)
    }
    for batch in task.batches("test", 4):
        ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
        lengths = mask.sum(1)
        assert ids.shape == mask.shape == (4, -(-int(lengths.max()) // 8) * 8)
        for row, length, label in zip(ids, lengths, labels, strict=True):
            assert (row[length:] == 0).all()
            text = [words[own] for own in row[:length]]
            assert (text[0], text[-1]) == ("[CLS]", "[SEP]")
            said = " ".join(text[1:-1])
            full = [own for own in known if own.startswith(said)]
            assert full
            assert length == 32 or said in known
            assert {known[own] for own in full} == {int(label)}


def test_texts_are_cut_off_after_the_scales_number_of_tokens(make: partial[Any]) -> None:
    for name, longest in (("imdb", 32), ("sst2", 16)):
        lengths = make(name, seed=0)._texts["train"].lengths()
        assert int(lengths.max()) == longest
        assert int(lengths.min()) < longest or name == "sst2"


def test_an_encoder_with_fewer_positions_gets_shorter_texts(
    make: partial[Any], encoder: Path, tmp_path: Path
) -> None:
    shutil.copytree(encoder, tmp_path / "short")
    config = json.loads((encoder / "config.json").read_text())
    (tmp_path / "short" / "config.json").write_text(
        json.dumps({**config, "max_position_embeddings": 12})
    )
    task = make("imdb", seed=0, model=tmp_path / "short")
    assert int(task._texts["train"].lengths().max()) == 12


def test_another_seed_reads_and_encodes_nothing(
    make: partial[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make("imdb", seed=0)
    monkeypatch.setattr("lr_env.tasks.stored.load_splits", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr("lr_env.tasks.tokens._tokenizer", lambda *_: pytest.fail("encoded again"))
    other = make("imdb", seed=1)
    assert not torch.equal(first._texts["train"].values, other._texts["train"].values)
    assert torch.equal(first._texts["test"].values, other._texts["test"].values)


def test_what_the_hub_gave_is_read_once_too(
    data_root: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = Sst2._read
    monkeypatch.setattr(
        "lr_env.tasks.stored.load_splits",
        lambda *_: datasets.load_dataset(str(data_root / "sst2")),
    )
    monkeypatch.setattr(Sst2, "_read", lambda _, own: (reads.append(own), read(own))[1])
    tasks = [make_task("sst2", seed=own, scale="smoke", model=encoder) for own in (0, 1)]
    assert len(reads) == 1
    assert {own.describe()["source"] for own in tasks} == {Sst2.hub}


def test_padding_and_company_do_not_change_what_the_model_says(make: partial[Any]) -> None:
    task = make("imdb", seed=0)
    model = build(task).eval()
    with torch.no_grad():
        alone = torch.cat([task.outputs(model, own)[0] for own in task.batches("test", 1)])
        together = torch.cat([task.outputs(model, own)[0] for own in task.batches("test", 16)])
    assert torch.allclose(alone, together, atol=1e-6)


def test_metrics_are_those_of_scikit_learn(make: partial[Any]) -> None:
    task = make("sst2", seed=0)
    model = build(task)
    (batch,) = task.batches("test", 100)
    with torch.no_grad():
        logits, labels = task.outputs(model.eval(), batch)
    metrics, said = task.metrics(model, "test"), logits.argmax(-1)
    assert set(metrics) == {"loss", "accuracy", "precision", "recall", "f1"}
    assert metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)))
    assert metrics["accuracy"] == pytest.approx(float((said == labels).float().mean()))
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert metrics[name] == pytest.approx(score(labels, said, zero_division=0))


def test_the_encoder_is_pretrained_and_the_head_is_not(
    make: partial[Any], tmp_path: Path, encoder: Path
) -> None:
    task = make("imdb", seed=0)
    names = [name for name, _ in build(make("imdb", seed=0)).named_parameters()]
    fresh = {name for name in names if not task.is_pretrained(name)}
    assert fresh == {"classifier.weight", "classifier.bias"}
    bare = hub.write_encoder(tmp_path / "bare", pooler=False)
    task = make("imdb", seed=0, model=bare)
    fresh |= {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert {name for name in names if not task.is_pretrained(name)} == fresh
    weights, stored = build(task).state_dict(), load_file(bare / "model.safetensors")
    assert len(stored) == len(names) - 4
    assert all(torch.equal(weights[f"bert.{name}"], own) for name, own in stored.items())


def test_a_head_of_other_classes_is_made_anew(make: partial[Any], tmp_path: Path) -> None:
    task = make("imdb", seed=0)
    model: Any = build(task)
    model.classifier = nn.Linear(32, 5)
    model.config.num_labels = 5
    model.save_pretrained(tmp_path / "five")
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(task._checkpoint.folder / name, tmp_path / "five" / name)
    task = make("imdb", seed=0, model=tmp_path / "five")
    assert build(task).get_parameter("classifier.weight").shape == (2, 32)
    assert not task.is_pretrained("classifier.weight")
    assert task.is_pretrained("bert.pooler.dense.weight")


def test_dropout_before_the_head_is_an_argument(make: partial[Any]) -> None:
    plain: Any = build(make("imdb", seed=0))
    variant: Any = build(make("imdb", seed=0, head_dropout=0.3))
    assert (plain.dropout.p, variant.dropout.p) == (0.1, 0.3)
    assert make("imdb", seed=0, head_dropout=0.3).describe()["head_dropout"] == 0.3
    for wrong in (1.0, -0.1, float("nan")):
        with pytest.raises(InvalidArgumentError, match="head_dropout"):
            make("imdb", seed=0, head_dropout=wrong)


def test_the_loss_follows_the_models_device(make: partial[Any]) -> None:
    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, device="meta"))

        def forward(self, **batch: torch.Tensor) -> Any:
            assert {own.device.type for own in batch.values()} == {"meta"}
            return SimpleNamespace(logits=batch["input_ids"][:, :2] * self.weight)

    task = make("imdb", seed=0)
    loss = task.loss(Elsewhere(), next(task.batches("train", 4)))
    assert loss.device.type == "meta"


def test_an_environment_trains_the_encoder(data_root: Path, encoder: Path) -> None:
    arguments = {"data": data_root / "sst2", "scale": "smoke", "model": encoder}
    env = gymnasium.make(
        "lr_env/LayerwiseLR-v0", task="sst2", task_arguments=arguments, num_decisions=3
    )
    observation, _ = env.reset(seed=0)
    pretrained = observation[:, FEATURES.index("pretrained")]
    assert set(pretrained) == {0.0, 1.0}
    assert (pretrained == 0).sum() == 1, "the head"
    done, info = False, {}
    while not done:
        _, _, done, _, info = env.step(env.action_space.sample())
    assert info["validation_loss"] > 0


TEXTS = {"text": datasets.Value("string"), "label": datasets.Value("int64")}


@pytest.mark.parametrize(
    ("texts", "labels", "words"),
    [
        (["a", None], [0, 1], "row 1 of its train split has no text"),
        (["a", "b"], [0, -1], r"without a label \(-1\)"),
        (["a", "b"], [0, 2], "the label 2, not one of 0 to 1"),
        (["a", "b"], [0, 1], "rows are 2 where this scale takes 48"),
    ],
)
def test_strange_texts_are_one_sentence(
    tmp_path: Path, make: partial[Any], texts: list[Any], labels: list[int], words: str
) -> None:
    for split in ("train", "test"):
        hub.write_split(tmp_path / "mine", split, {"text": texts, "label": labels}, TEXTS)
    with pytest.raises(DataError, match=words) as caught:
        make("imdb", data=tmp_path / "mine")
    assert "\n" not in str(caught.value)
