"""Titanic: encoding fitted on the training rows alone, metrics, and data that is not there."""

import logging
import shutil
import time
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import precision_score, recall_score
from torch import nn

from lr_env.errors import DataError
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks import SCALES, make_task
from lr_env.tasks.tensor_task import predict
from lr_env.tasks.titanic import CATEGORIES, COLUMNS, NUMBERS, encode
from lr_env.testing import check_task
from tests.hub import passengers

pytestmark = pytest.mark.usefixtures("own_data_cache")


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "passengers.csv"
    passengers().to_csv(path, index=False)
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
    with IsolatedTorchRandomness(0, "model").use():
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


def test_the_task_keeps_its_promises(csv: Path) -> None:
    check_task(partial(make_task, "titanic", data=csv))


def test_scales_differ_in_epochs_alone(csv: Path) -> None:
    tasks = {scale: make_task("titanic", data=csv, scale=scale) for scale in SCALES}
    assert {scale: own.epochs for scale, own in tasks.items()} == {
        "smoke": 3, "quick": 50, "paper": 50,
    }  # fmt: skip
    assert make_task("titanic", data=csv).describe() == tasks["quick"].describe()
    assert tasks["paper"].describe()["rows"]["train"] == "36 of 60 in train"
    inputs = [own.tensors("train")[0] for own in tasks.values()]
    assert all(torch.equal(inputs[0], own) for own in inputs)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("Survived", np.nan, "must be 0 or 1"),
        ("Survived", 1, "must be 0 or 1"),
        ("Survived", 2, "must be 0 or 1"),
        ("Age", "old", "column 'Age' holds 'old'"),
        ("Fare", np.inf, "column 'Fare' holds 'inf'"),
        ("Embarked", None, "column 'Embarked' is empty"),
        ("Age", np.nan, "column 'Age' is empty"),
    ],
)
def test_strange_columns_are_one_sentence(
    csv: Path, column: str, values: object, words: str
) -> None:
    passengers().assign(**{column: values}).to_csv(csv, index=False)
    with pytest.raises(DataError) as caught:
        make_task("titanic", data=csv)
    assert words in str(caught.value)
    _assert_one_sentence_with_all_ways(str(caught.value))


@pytest.mark.parametrize("column", COLUMNS)
def test_missing_columns_are_one_sentence(csv: Path, column: str) -> None:
    passengers().drop(columns=column).to_csv(csv, index=False)
    with pytest.raises(DataError, match=f"lacks the column '{column}'") as caught:
        make_task("titanic", data=csv)
    _assert_one_sentence_with_all_ways(str(caught.value))


def test_a_table_without_rows_is_one_sentence(csv: Path) -> None:
    passengers().head(0).to_csv(csv, index=False)
    with pytest.raises(DataError) as caught:
        make_task("titanic", data=csv)
    _assert_one_sentence_with_all_ways(str(caught.value))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("left", [0, 200])
def test_truncated_files_are_one_sentence(
    csv: Path, suffix: str, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = csv.with_suffix(suffix)
    if suffix == ".parquet":
        passengers().to_parquet(path)
    path.write_bytes(path.read_bytes()[:left])
    # It hands nothing on to the root's handlers.
    logging.getLogger("datasets").addHandler(caplog.handler)
    try:
        with pytest.raises(DataError) as caught:
            make_task("titanic", data=path)
    finally:
        logging.getLogger("datasets").removeHandler(caplog.handler)
    _assert_one_sentence_with_all_ways(str(caught.value))
    assert caplog.records == []


def test_no_data_and_no_hub_is_one_sentence_within_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        make_task("titanic")
    _assert_one_sentence_with_all_ways(str(caught.value))
    assert time.monotonic() - start < 5


def test_a_hub_that_cannot_be_reached_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unreachable(*_: object, **__: object) -> None:
        asked.append("hub")
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", unreachable)
    with pytest.raises(DataError) as caught:
        make_task("titanic")
    _assert_one_sentence_with_all_ways(str(caught.value))
    assert asked == ["hub"]
    assert not datasets.config.HF_HUB_OFFLINE


def test_what_was_fetched_before_is_used_without_the_hub(csv: Path, tmp_path: Path) -> None:
    builder = datasets.load_dataset_builder("csv", data_files={"train": str(csv)})
    builder.download_and_prepare()
    fetched = tmp_path / "cache" / "phihung___titanic" / "default" / "0.0.0" / ("0" * 40)
    fetched.parent.mkdir(parents=True)
    shutil.copytree(builder.cache_dir, fetched)
    (fetched / "csv-train.arrow").rename(fetched / "titanic-train.arrow")
    assert torch.equal(
        make_task("titanic").tensors("train")[0], make_task("titanic", data=csv).tensors("train")[0]
    )


def test_places_that_hold_nothing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no such place is no folder") as caught:
        make_task("titanic", data="no such place")
    _assert_one_sentence_with_all_ways(str(caught.value))
    monkeypatch.setenv("LR_ENV_DATA", str(tmp_path))
    with pytest.raises(DataError, match="which holds no folder titanic") as caught:
        make_task("titanic")
    _assert_one_sentence_with_all_ways(str(caught.value))


def _assert_one_sentence_with_all_ways(message: str) -> None:
    assert "\n" not in message
    assert message.endswith(".")
    for way in ("data argument", "LR_ENV_DATA", "hub"):
        assert way in message
