"""A policy folder that was cut, edited or made elsewhere is one clear error."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lr_env.errors import PolicyError
from lr_env.observation import FEATURES
from lr_env.policy import CARD_FILE, WEIGHTS_FILE, FrozenPolicy
from tests.toys import make_policy


def edit_card(folder: Path, **changes) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    card.update(changes)
    for key in [key for key, value in card.items() if value is Ellipsis]:
        del card[key]
    (folder / CARD_FILE).write_text(json.dumps(card))


def put_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Write other weights, with a card whose hash fits them."""
    weights = {name: tensor.clone() for name, tensor in make_policy().weights().items()}
    change(weights)
    data = save(weights)
    (folder / WEIGHTS_FILE).write_bytes(data)
    edit_card(folder, weights_sha256=hashlib.sha256(data).hexdigest())


def put_bytes(folder: Path, data: bytes) -> None:
    (folder / WEIGHTS_FILE).write_bytes(data)
    edit_card(folder, weights_sha256=hashlib.sha256(data).hexdigest())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def with_nan(weights: dict[str, torch.Tensor]) -> None:
    weights["0.weight"][0, 0] = float("nan")


def too_narrow(weights: dict[str, torch.Tensor]) -> None:
    weights["0.weight"] = weights["0.weight"][:, 1:].contiguous()


def two_outputs(weights: dict[str, torch.Tensor]) -> None:
    weights["1.weight"], weights["1.bias"] = torch.ones(2, 8), torch.ones(2)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated weights": (lambda f: truncate(f / WEIGHTS_FILE), "not the file"),
    "edited weights": (lambda f: flip_a_bit(f / WEIGHTS_FILE), "not the file"),
    "no weights": (lambda f: (f / WEIGHTS_FILE).unlink(), "cannot be read"),
    "no card": (lambda f: (f / CARD_FILE).unlink(), "cannot be read"),
    "weights are a folder": (
        lambda f: ((f / WEIGHTS_FILE).unlink(), (f / WEIGHTS_FILE).mkdir()),
        "cannot be read",
    ),
    "a card without an end": (
        lambda f: ((f / CARD_FILE).unlink(), (f / CARD_FILE).symlink_to("/dev/zero")),
        "cannot be read",
    ),
    "truncated card": (lambda f: truncate(f / CARD_FILE), "not valid JSON"),
    "empty card": (lambda f: (f / CARD_FILE).write_text(""), "not valid JSON"),
    "binary card": (lambda f: (f / CARD_FILE).write_bytes(b"\xff\xfe\x00"), "not valid JSON"),
    "bottomless card": (lambda f: (f / CARD_FILE).write_text("[" * 100_000), "not valid JSON"),
    "a list for a card": (lambda f: (f / CARD_FILE).write_text("[]"), "not a JSON object"),
    "other feature version": (lambda f: edit_card(f, features_version=99), "version 99"),
    "a later format": (lambda f: edit_card(f, format=2), "format 2"),
    "features renamed": (lambda f: edit_card(f, features=["x", *FEATURES[1:]]), "features"),
    "features left out": (lambda f: edit_card(f, features=...), "features"),
    "unknown action space": (lambda f: edit_card(f, action_space="tuple"), "action_space"),
    "action space of the other kind": (lambda f: edit_card(f, action_space="discrete"), "outputs"),
    "unknown activation": (lambda f: edit_card(f, activation="exec"), "activation"),
    "activation of another type": (lambda f: edit_card(f, activation=["tanh"]), "activation"),
    "an envelope past all numbers": (lambda f: edit_card(f, z_max=10**400), "envelope"),
    "no envelope": (lambda f: edit_card(f, z_max=...), "envelope"),
    "envelope that is no number": (lambda f: edit_card(f, z_max="wide"), "envelope"),
    "endless envelope": (lambda f: edit_card(f, z_max=float("inf")), "envelope"),
    "unknown action mode": (lambda f: edit_card(f, action_mode="jump"), "envelope"),
    "weights that are not safetensors": (lambda f: put_bytes(f, b"PK\x03\x04" * 40), "cannot be"),
    "empty weights": (lambda f: put_bytes(f, b""), "cannot be read"),
    "a pickle": (lambda f: put_bytes(f, b"\x80\x04cos\nsystem\n"), "cannot be read"),
    "not a number": (lambda f: put_weights(f, with_nan), "not finite"),
    "too few inputs": (lambda f: put_weights(f, too_narrow), "shape"),
    "too many outputs": (lambda f: put_weights(f, two_outputs), "outputs"),
    "a matrix too few": (lambda f: put_weights(f, lambda w: w.pop("1.bias")), "named"),
    "an unknown tensor": (
        lambda f: put_weights(f, lambda w: w.update({"extra": torch.ones(1)})),
        "named",
    ),
    "no tensors": (lambda f: put_weights(f, lambda w: w.clear()), "named"),
    "integer weights": (
        lambda f: put_weights(f, lambda w: w.update({"0.weight": w["0.weight"].long()})),
        "matrix 0",
    ),
    "a bias of another precision": (
        lambda f: put_weights(f, lambda w: w.update({"0.bias": w["0.bias"].double()})),
        "matrix 0",
    ),
    "an integer bias": (
        lambda f: put_weights(f, lambda w: w.update({"1.bias": w["1.bias"].long()})),
        "matrix 1",
    ),
    "eight-bit weights": (
        lambda f: put_weights(
            f, lambda w: w.update({"0.weight": w["0.weight"].to(torch.float8_e4m3fn)})
        ),
        "matrix 0",
    ),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_faulty_folders_are_one_sentence(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    make_policy().save(folder)
    spoil, says = FAULTS[fault]
    spoil(folder)
    with pytest.raises(PolicyError, match=says) as caught:
        FrozenPolicy.load(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert "mine" in text
    assert text.endswith(".")


def test_an_oversized_file_is_not_even_read(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    make_policy().save(folder)
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(PolicyError, match="larger than"):
        FrozenPolicy.load(folder)


def test_a_file_of_a_policy_is_not_the_policy(tmp_path: Path) -> None:
    make_policy().save(tmp_path / "own")
    with pytest.raises(PolicyError, match="give the folder that holds it"):
        FrozenPolicy.load(tmp_path / "own" / "policy.safetensors")


def test_a_policy_acts_on_arrays_as_on_tensors() -> None:
    observation = torch.randn(3, len(FEATURES), generator=torch.Generator().manual_seed(0))
    policy = make_policy()
    assert torch.equal(policy.act(observation.numpy()), policy.act(observation))
