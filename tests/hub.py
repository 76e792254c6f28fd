"""Tiny data sets and a tiny encoder in the layouts of the hub, generated here."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

GOOD = ("good", "fine", "great", "lovely", "bright")
BAD = ("bad", "poor", "awful", "dull", "weak")
NEUTRAL = ("the", "film", "is", "a", "plot", "and", "it", "was", "with", "actor")
CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def write_split(folder: Path, split: str, rows: dict[str, Any], features: Any) -> None:
    """Write one split as the hub stores it: parquet with the features in its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    own = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    own.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def pictures(count: int, seed: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Return noise whose brightness and colour tell ten classes apart, and the classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    colours = np.random.default_rng(0).integers(20, 180, (10, 3))
    noise = random.integers(0, 60, (count, 32, 32, 3))
    return (colours[labels][:, None, None] + noise).astype(np.uint8), labels.tolist()


def encoded(image: NDArray[np.uint8], kind: str = "webp") -> dict[str, Any]:
    """Return an image as the hub stores it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, lossless=True)
    return {"bytes": buffer.getvalue(), "path": None}


def write_cifar10(folder: Path, kind: str = "webp", train: int = 120, test: int = 40) -> None:
    features = {
        "img": datasets.Image(), "label": datasets.ClassLabel(names=list(CIFAR_CLASSES))
    }  # fmt: skip
    for seed, (split, count) in enumerate((("train", train), ("test", test))):
        images, labels = pictures(count, seed)
        rows = {"img": [encoded(own, kind) for own in images], "label": labels}
        write_split(folder / "plain_text", split, rows, features)


def sentences(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Return texts of 6 to 39 words, sorted by label as IMDB's are, and their labels."""
    random = np.random.default_rng(seed)
    labels = [int(row >= count // 2) for row in range(count)]
    texts = []
    for label in labels:
        words = list(random.choice(NEUTRAL, random.integers(5, 37)))
        for _ in range(2):
            words.insert(int(random.integers(5)), str(random.choice((BAD, GOOD)[label])))
        texts.append(" ".join(words))
    return texts, labels


def write_texts(folder: Path, column: str, splits: Sequence[str], names: Sequence[str]) -> None:
    features = {
        column: datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))
    }  # fmt: skip
    for seed, split in enumerate(splits):
        texts, labels = sentences(80 if split == "train" else 40, seed)
        write_split(folder, split, {column: texts, "label": labels}, features)


def write_imdb(folder: Path) -> None:
    write_texts(folder / "plain_text", "text", ("train", "test"), ("neg", "pos"))


def write_sst2(folder: Path) -> None:
    splits, names = ("train", "validation"), ("negative", "positive")
    write_texts(folder / "data", "sentence", splits, names)


def passengers(count: int = 60) -> pd.DataFrame:
    """Return passengers as Kaggle's training file has them."""
    random = np.random.default_rng(0)
    return pd.DataFrame({
        "PassengerId": np.arange(count),
        "Survived": random.integers(0, 2, count),
        "Pclass": random.integers(1, 4, count),
        "Name": [f"Doe, {title}. J." for title in random.choice(["Mr", "Mrs", "Dr"], count)],
        "Sex": random.choice(["male", "female"], count),
        "Age": np.where(random.random(count) < 0.2, np.nan, random.uniform(1, 70, count)),
        "SibSp": random.integers(0, 3, count),
        "Parch": random.integers(0, 3, count),
        "Ticket": "A1",
        "Fare": random.uniform(5, 100, count),
        "Cabin": np.where(random.random(count) < 0.7, None, "C85"),
        "Embarked": np.where(random.random(count) < 0.1, None, "S"),
    })  # fmt: skip


def write_titanic(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    passengers().to_parquet(folder / "data" / "train-00000-of-00001.parquet")


def write_all(root: Path) -> Path:
    """Write titanic, cifar10, imdb and sst2 into `root`, as LR_ENV_DATA wants them."""
    write_titanic(root / "titanic")
    write_cifar10(root / "cifar10")
    write_imdb(root / "imdb")
    write_sst2(root / "sst2")
    return root


def write_encoder(folder: Path, pooler: bool = True) -> Path:
    """Write a BERT of 2 layers and 32 units with a WordPiece vocabulary of the words above."""
    import torch

    from lr_env.randomness import IsolatedTorchRandomness
    from lr_env.tasks.torchvision_import import import_torchvision

    import_torchvision()
    from transformers import BertConfig, BertModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *GOOD, *BAD, *NEUTRAL]
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    with IsolatedTorchRandomness(0, "encoder").use(), torch.no_grad():
        BertModel(config, add_pooling_layer=pooler).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    return folder
