"""Titanic: encoding fitted on the training rows alone, metrics, and data that is not there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import precision_score, recall_score
from torch import nn

from lr_env.errors import DataError
from lr_env.tasks import make_task
from lr_env.tasks.sources import load_splits
from lr_env.tasks.tensor_task import predict
from lr_env.tasks.titanic import CATEGORIES, NUMBERS, encode

ROWS = 60


def _table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({
        "PassengerId": np.arange(ROWS),
        "Survived": random.integers(0, 2, ROWS),
        "Pclass": random.integers(1, 4, ROWS),
        "Name": [f"Doe, {title}. J." for title in random.choice(["Mr", "Mrs", "Dr"], ROWS)],
        "Sex": random.choice(["male", "female"], ROWS),
        "Age": np.where(random.random(ROWS) < 0.2, np.nan, random.uniform(1, 70, ROWS)),
        "SibSp": random.integers(0, 3, ROWS),
        "Parch": random.integers(0, 3, ROWS),
        "Ticket": "A1",
        "Fare": random.uniform(5, 100, ROWS),
        "Cabin": np.where(random.random(ROWS) < 0.7, None, "C85"),
        "Embarked": np.where(random.random(ROWS) < 0.1, None, "S"),
    })  # fmt: skip


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "passengers.csv"
    _table().to_csv(path, index=False)
    return path


def test_a_csv_and_the_hubs_layout_give_the_same_task(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "titanic"
    (folder / "data").mkdir(parents=True)
    pd.read_csv(csv).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    before = sorted(tmp_path.joinpath("data").rglob("*"))
    monkeypatch.setenv("LR_ENV_DATA", str(tmp_path / "data"))
    from_folder, from_csv = make_task("titanic", seed=1), make_task("titanic", seed=1, data=csv)
    assert torch.equal(from_folder.tensors("train")[0], from_csv.tensors("train")[0])
    assert from_folder.describe()["hash"] == from_csv.describe()["hash"]
    assert sorted(tmp_path.joinpath("data").rglob("*")) == before


def test_metrics_are_those_of_scikit_learn(csv: Path) -> None:
    task = make_task("titanic", seed=0, data=csv)
    torch.manual_seed(0)
    model = task.build_model()
    assert any(isinstance(module, nn.Dropout) for module in model.modules())
    logits, targets = predict(task, model, "train")
    said, metrics = logits.argmax(-1), task.metrics(model, "train")
    assert metrics["precision"] == pytest.approx(precision_score(targets, said, zero_division=0))
    assert metrics["recall"] == pytest.approx(recall_score(targets, said))
    assert metrics["accuracy"] == pytest.approx(float((said == targets).float().mean()))


def _encodable() -> pd.DataFrame:
    table = pd.DataFrame({name: np.arange(10.0) for name in NUMBERS})
    return table.assign(**{name: ["a", "b"] * 5 for name in CATEGORIES})


def test_encoding_is_fitted_on_the_training_rows_alone() -> None:
    train = np.arange(6)
    table = _encodable()
    encoded = encode(table, train)
    table.loc[8, ["Age", "Sex"]] = [1e6, "unseen"]
    changed = encode(table, train)
    assert np.array_equal(changed[train], encoded[train])
    sex = slice(
        len(NUMBERS) + 2 * CATEGORIES.index("Sex"), len(NUMBERS) + 2 * CATEGORIES.index("Sex") + 2
    )
    assert encoded[8, sex].tolist() == [1.0, 0.0]
    assert changed[8, sex].tolist() == [0.0, 0.0]


def test_gaps_are_filled_with_the_training_median_and_mode() -> None:
    train, table = np.arange(6), _encodable()
    table.loc[9, "Age"] = np.nan
    table.loc[9, "Sex"] = None
    table.loc[5, "Sex"] = "a"  # the mode of the training rows
    encoded = encode(table, train)
    median = table["Age"].iloc[train].median()
    filled = table.assign(Age=table["Age"].fillna(median), Sex=table["Sex"].fillna("a"))
    assert np.array_equal(encoded, encode(filled, train))


def _spoil(csv: Path, how: str) -> Path:
    table = pd.read_csv(csv)
    if how == "column":
        table = table.drop(columns="Age")
    elif how == "unlabelled":
        table["Survived"] = np.nan
    if how == "truncated":
        path = csv.with_suffix(".parquet")
        table.to_parquet(path)
        path.write_bytes(path.read_bytes()[:200])
        return path
    if how == "empty":
        csv.write_text("")
        return csv
    table.to_csv(csv, index=False)
    return csv


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("column", "lacks the column 'Age'"),
        ("unlabelled", "must have 0 or 1"),
        ("truncated", "LR_ENV_DATA"),
        ("empty", "LR_ENV_DATA"),
    ],
)
def test_broken_files_are_one_sentence(csv: Path, how: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        make_task("titanic", data=_spoil(csv, how))
    assert "\n" not in str(caught.value)


def test_absent_data_names_all_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LR_ENV_DATA", raising=False)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(DataError) as caught:
        make_task("titanic")
    for way in ("data argument", "LR_ENV_DATA", "hub"):
        assert way in str(caught.value)
    monkeypatch.setenv("LR_ENV_DATA", str(tmp_path))
    with pytest.raises(DataError, match="holds no folder 'titanic'"):
        make_task("titanic")
    with pytest.raises(DataError, match="No such data folder"):
        load_splits("titanic", "some/where", "no such place")
