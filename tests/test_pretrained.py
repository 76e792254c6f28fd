"""What is pretrained, found out or said."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lr_env.controller import LRController
from lr_env.pretrained import pretrained_names
from lr_env.tasks.torchvision_import import import_torchvision
from tests.toys import make_policy

import_torchvision()
transformers = pytest.importorskip("transformers")


class Encoder(nn.Module):
    """As transformers' own models look, of a version that leaves no marks on parameters."""

    base_model_prefix = "encoder"

    def __init__(self, came_from: str) -> None:
        super().__init__()
        self.name_or_path = came_from
        self.body = nn.Linear(2, 2)


class Classifier(nn.Module):
    """A base model and a head."""

    base_model_prefix = "encoder"

    def __init__(self, came_from: str) -> None:
        super().__init__()
        self.name_or_path = came_from
        self.encoder = Encoder(came_from)
        self.head = nn.Linear(2, 2)


class Mine(nn.Module):
    """A model of one's own around a base model."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.inner = encoder
        self.top = nn.Linear(2, 2)


def found(model: nn.Module) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a guess
        is_pretrained = pretrained_names(model, None)
    return {name.rpartition(".")[0] for name, _ in model.named_parameters() if is_pretrained(name)}


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: Classifier("somewhere"), {"encoder.body"}),
        (lambda: Encoder("somewhere"), {"body"}),
        (lambda: Mine(Encoder("somewhere")), {"inner.body"}),
        (lambda: Mine(Classifier("somewhere")), {"inner.encoder.body"}),
        (lambda: Classifier(""), set()),
        (lambda: nn.Sequential(nn.Linear(2, 2)), set()),
    ],
    ids=["with a head", "base model", "inside", "with a head inside", "from nowhere", "plain"],
)
def test_base_models_that_remember_where_they_came_from(
    build: Callable[[], nn.Module], expected: set[str]
) -> None:
    assert found(build()) == expected


def test_a_mark_tells_of_heads_that_were_loaded() -> None:
    model = Classifier("somewhere")
    model.head.weight._is_hf_initialized = True  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="no mark"):
        is_pretrained = pretrained_names(model, None)
    assert is_pretrained("head.weight")
    assert not is_pretrained("head.bias")
    assert is_pretrained("encoder.body.weight")


def test_said_is_believed() -> None:
    model = Classifier("somewhere")
    assert not pretrained_names(model, False)("encoder.body.weight")
    assert pretrained_names(model, True)("head.bias")


TINY = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16,
}  # fmt: skip


def test_what_transformers_loaded_is_recognised_inside_a_model_of_one_s_own(tmp_path: Path) -> None:
    config = transformers.BertConfig(**TINY)
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "encoder")
    for encoder, expected in ((loaded, True), (transformers.BertModel(config), False)):
        model = Mine(encoder)
        optimizer = torch.optim.Adam(model.parameters())
        controller = LRController(model, optimizer, make_policy(), total_steps=10)
        said = {layer.name: layer.pretrained for layer in controller.layers}
        assert not said.pop("top")
        assert set(said.values()) == {expected}


def test_the_head_of_a_language_model_is_pretrained_too(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(**TINY)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert "lm_head" in found(model)


def test_embeddings_that_were_resized_stay_pretrained(tmp_path: Path) -> None:
    config = transformers.BertConfig(**TINY)
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    kind = transformers.BertForSequenceClassification
    model = kind.from_pretrained(tmp_path / "encoder")
    model.resize_token_embeddings(40)
    assert "bert.embeddings.word_embeddings" in found(model)
    assert "classifier" not in found(model)


def test_a_model_made_anew_from_a_config_that_was_loaded_is_a_guess(tmp_path: Path) -> None:
    config = transformers.BertConfig(**TINY)
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    known = transformers.AutoConfig.from_pretrained(tmp_path / "encoder")
    with pytest.warns(UserWarning, match="pretrained=False"):
        pretrained_names(transformers.AutoModel.from_config(known), None)
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "encoder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pretrained_names(loaded, None)
    with pytest.warns(UserWarning, match="pretrained=True"):
        assert pretrained_names(copy.deepcopy(loaded), None)("encoder.layer.0.output.dense.bias")


def test_adapters_and_layers_that_were_replaced_are_fresh(tmp_path: Path) -> None:
    config = transformers.BertConfig(**TINY)
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    model = transformers.AutoModel.from_pretrained(tmp_path / "encoder")
    model.pooler.dense = nn.Linear(8, 8)
    model.encoder.layer[0].attention.self.query.adapter = nn.Linear(8, 8)
    names = found(model)
    assert "pooler.dense" not in names
    assert "encoder.layer.0.attention.self.query" in names
    assert "encoder.layer.0.attention.self.query.adapter" not in names


def test_a_pooler_that_the_checkpoint_lacks_is_fresh(tmp_path: Path) -> None:
    config = transformers.BertConfig(**TINY)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "encoder")
    kind = transformers.BertForSequenceClassification
    names = found(kind.from_pretrained(tmp_path / "encoder"))
    assert "bert.pooler.dense" not in names
    assert "bert.embeddings.word_embeddings" in names
