"""CIFAR-10: decoded once, augmented from the generator, scaled by the training rows."""

from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lr_env.errors import DataError, UnknownNameError
from lr_env.tasks import SPLITS, make_task
from lr_env.tasks.images import PADDING, channel_scales, crop_and_flip
from lr_env.tasks.sources import load_splits
from lr_env.testing import check_task
from tests import hub

pytestmark = pytest.mark.usefixtures("own_data_cache")


@pytest.fixture
def make(data_root: Path) -> partial[Any]:
    return partial(make_task, "cifar10", data=data_root / "cifar10", scale="smoke")


def test_the_task_keeps_its_promises(make: partial[Any]) -> None:
    check_task(make, seeds=(0,))


def test_webp_and_png_give_the_pixels_that_were_stored(make: partial[Any], tmp_path: Path) -> None:
    hub.write_cifar10(tmp_path / "png", kind="png")
    webp, png = make(seed=3), make(seed=3, data=tmp_path / "png")
    assert webp.describe()["hash"] == png.describe()["hash"]
    images, labels = hub.pictures(40, 1)
    order = {own.tobytes(): label for own, label in zip(images, labels, strict=True)}
    test = [(own.permute(1, 2, 0).numpy().tobytes(), int(label)) for own, label in zip(
        png._images["test"], png._labels["test"], strict=True
    )]  # fmt: skip
    assert len(set(test)) == 32
    assert all(order[pixels] == label for pixels, label in test)


def test_splits_come_from_their_parts_and_the_description_says_so(make: partial[Any]) -> None:
    about = make(seed=0).describe()
    assert about["sizes"] == {"train": 64, "validation": 32, "test": 32}
    assert about["rows"] == {
        "train": "64 of 120 in train",
        "validation": "32 of 120 in train",
        "test": "32 of 40 in test",
    }  # fmt: skip
    assert (about["scale"], about["source"]) == ("smoke", "cifar10")
    assert about["model"] == "torchvision ResNet-18, imagenet stem"
    one, other = make(seed=0), make(seed=1)
    assert torch.equal(one._images["test"], other._images["test"])
    assert not torch.equal(one._images["validation"], other._images["validation"])


def test_another_seed_decodes_nothing(make: partial[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(seed=0)
    monkeypatch.setattr("lr_env.tasks.stored.load_splits", lambda *_: pytest.fail("read again"))
    assert make(seed=1).describe()["hash"] == first.describe()["hash"]


def test_files_that_changed_are_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    make = partial(make_task, "cifar10", seed=0, data=folder, scale="smoke")
    hub.write_cifar10(folder)
    before = make().describe()["hash"]
    hub.write_cifar10(folder, train=130)
    assert make().describe()["rows"]["train"] == "64 of 130 in train"
    assert make().describe()["hash"] != before


def test_crops_and_flips_are_those_of_a_plain_loop() -> None:
    images = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(5)
    found = crop_and_flip(images, generator)
    generator.manual_seed(5)
    top, left = torch.randint(2 * PADDING + 1, (2, 20), generator=generator)
    mirrored = torch.randint(2, (20,), generator=generator)
    for row, image in enumerate(images):
        padded = nn.functional.pad(image, (PADDING,) * 4)
        own = padded[:, top[row] : top[row] + 32, left[row] : left[row] + 32]
        assert torch.equal(found[row], own.flip(2) if mirrored[row] else own)
    assert {int(own) for own in top} >= {0, 8}
    assert 0 < int(mirrored.sum()) < 20


def test_training_batches_alone_are_augmented(make: partial[Any]) -> None:
    task = make(seed=0)
    for split in SPLITS:
        plain = {own.numpy().tobytes() for x, _ in task.batches(split, 8) for own in x}
        drawn = list(task.batches(split, 8, torch.Generator().manual_seed(0)))
        shuffled = {own.numpy().tobytes() for x, _ in drawn for own in x}
        assert (shuffled == plain) == (split != "train")
    first, second = (
        torch.cat([y for _, y in task.batches("train", 8, torch.Generator().manual_seed(s))])
        for s in (0, 0)
    )  # fmt: skip
    assert torch.equal(first, second)


def test_inputs_are_scaled_by_the_training_rows_alone(make: partial[Any]) -> None:
    task = make(seed=0)
    inputs = torch.cat([x for x, _ in task.batches("train", 16)])
    assert inputs.dtype == torch.float32
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-5
    assert (inputs.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    mean, deviation = channel_scales(task._images["train"])
    bytes_ = task._images["train"].double()
    assert torch.allclose(mean.flatten().double(), bytes_.mean((0, 2, 3)))
    assert torch.allclose(deviation.flatten().double(), bytes_.std((0, 2, 3), correction=0))
    held_out = torch.cat([x for x, _ in task.batches("test", 16)])
    assert torch.allclose(held_out, (task._images["test"] - mean) / deviation)


def test_a_black_image_stays_finite() -> None:
    mean, deviation = channel_scales(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert (mean == 0).all()
    assert (deviation == 1).all()


def test_the_network_is_resnet_18_with_the_stem_asked_for(make: partial[Any]) -> None:
    imagenet, cifar = make(seed=0).build_model(), make(seed=0, stem="cifar").build_model()
    assert sum(own.numel() for own in imagenet.parameters()) == 11_181_642
    assert imagenet.conv1.kernel_size == (7, 7)
    assert cifar.conv1.kernel_size == (3, 3)
    seen: list[torch.Size] = []
    cifar.layer1.register_forward_hook(lambda *own: seen.append(own[2].shape))
    assert cifar(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert seen == [torch.Size((2, 64, 32, 32))]
    with pytest.raises(UnknownNameError, match="did you mean 'cifar'"):
        make(seed=0, stem="cifer")


def test_metrics_are_those_of_one_pass_and_batches_follow_the_model(make: partial[Any]) -> None:
    task = make(seed=0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    ((x, y),) = task.batches("test", 32)
    metrics = task.metrics(model, "test")
    logits = model(x).detach()
    assert metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, y)))
    assert metrics["accuracy"] == pytest.approx(float((logits.argmax(1) == y).float().mean()))
    assert task.loss(model.to("meta"), (x, y)).device.type == "meta"


def _broken(
    folder: Path, images: list[Any], labels: list[Any], features: dict[str, Any]
) -> partial[Any]:
    names = list(features)
    for split in ("train", "test"):
        hub.write_split(folder, split, dict(zip(names, (images, labels), strict=True)), features)
    return partial(make_task, "cifar10", data=folder, scale="smoke")


IMAGES = {"img": datasets.Image(), "label": datasets.Value("int64")}
GOOD = hub.encoded(np.zeros((32, 32, 3), dtype=np.uint8))
SMALL = hub.encoded(np.zeros((28, 28, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("images", "labels", "features", "words"),
    [
        ([GOOD, SMALL], [0, 1], IMAGES, "train image 1 is 28 by 28 pixels, not 32 by 32"),
        ([GOOD, None], [0, 1], IMAGES, "train image 1 is missing"),
        ([GOOD, {"bytes": b"x", "path": None}], [0, 1], IMAGES, "is not made of images"),
        (["cat", "dog"], [0, 1], {"img": datasets.Value("string"), "label": IMAGES["label"]},
         "is not made of images"),
        ([GOOD, GOOD], [0, -1], IMAGES, "rows without a label"),
        ([GOOD, GOOD], [0, 10], IMAGES, "the label 10, not one of 0 to 9"),
        ([GOOD, GOOD], [0, None], IMAGES, "not whole numbers"),
        ([GOOD, GOOD], ["cat", "dog"], {"img": IMAGES["img"], "label": datasets.Value("string")},
         "not whole numbers"),
        ([GOOD, GOOD], [0, 1], {"image": IMAGES["img"], "label": IMAGES["label"]},
         "lacks the column 'img'"),
        ([GOOD, GOOD], [0, 1], {"img": IMAGES["img"], "class": IMAGES["label"]},
         "lacks the column 'label'"),
        ([GOOD] * 4, [0, 1] * 2, IMAGES, "rows are 4 where this scale takes 96"),
        ([], [], IMAGES, "cannot be read"),
    ],
)  # fmt: skip
def test_strange_data_is_one_sentence(
    tmp_path: Path, images: list[Any], labels: list[Any], features: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        _broken(tmp_path / "mine", images, labels, features)()
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert all(way in message for way in ("data argument", "LR_ENV_DATA", "hub"))


def test_a_folder_without_a_test_split_is_one_sentence(tmp_path: Path) -> None:
    hub.write_split(tmp_path / "mine", "train", {"img": [GOOD], "label": [0]}, IMAGES)
    with pytest.raises(DataError, match=r"has no test split \(it has train\)"):
        make_task("cifar10", data=tmp_path / "mine", scale="smoke")


def test_no_data_and_no_hub_is_one_sentence() -> None:
    with pytest.raises(DataError, match="LR_ENV_DATA") as caught:
        make_task("cifar10")
    assert "\n" not in str(caught.value)


def test_images_of_other_modes_become_colours(tmp_path: Path) -> None:
    images, labels = hub.pictures(120, 0)
    grey = np.asarray(Image.fromarray(images[0]).convert("L"))
    rows = [hub.encoded(grey, "png"), *(hub.encoded(own) for own in images[1:])]
    task = _broken(tmp_path / "mine", rows, labels, IMAGES)(seed=0)
    assert task._images["train"].shape == (64, 3, 32, 32)


def test_a_hub_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LR_ENV_DATA", raising=False)
    monkeypatch.setattr("lr_env.tasks.sources.hub_answers", lambda name, kind: False)
    with pytest.raises(DataError, match=r"the hub does not answer, and nothing was fetched .* set"):
        load_splits("cifar10", "nobody/has-this")
