"""The frozen policy: a folder with `policy.safetensors` and `card.json`; loading runs no code."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lr_env import files
from lr_env.action import DISCRETE_ACTIONS, Envelope, decode_discrete
from lr_env.errors import LrEnvError, PolicyError, UnknownNameError
from lr_env.observation import FEATURES, FEATURES_VERSION

WEIGHTS_FILE, CARD_FILE = "policy.safetensors", "card.json"
FORMAT = 1
DEFAULT_POLICY = "ppo-v1"
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}
_SHIPPED = Path(__file__).parent / "policies"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LARGEST_CARD = 1 << 20
_LARGEST_WEIGHTS = 1 << 26


class FrozenPolicy:
    """A multilayer perceptron from one layer's observation to its action, and its card.

    The last matrix product gives one number (`box`: the action, clipped to [-1, 1]) or one
    preference for each of the five discrete actions (`discrete`: the highest is taken).

    Raises:
        PolicyError: weights or card that do not fit together or this version of lr_env.
    """

    def __init__(self, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
        self.card: dict[str, Any] = dict(card)
        self.name = str(card.get("name", "unnamed"))
        self._activation = ACTIVATIONS[_checked_card(card)]
        self._layers = _checked_weights(weights, card)
        self.discrete = card["action_space"] == "discrete"
        self.envelope = _envelope(card)

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights' file, whether there is one or not, hexadecimal."""
        return hashlib.sha256(save_tensors(self.weights())).hexdigest()

    def act(self, observation: Tensor) -> Tensor:
        """Return actions `[..., L]` in [-1, 1] for observations `[..., L, F]`; no randomness.

        An array, as environments return it, is taken for a tensor.
        """
        values = observation = torch.as_tensor(observation, device="cpu")
        for index, (weight, bias) in enumerate(self._layers):
            values = torch.nn.functional.linear(values.to(weight.dtype), weight, bias)
            if index < len(self._layers) - 1:
                values = self._activation(values)
        if self.discrete:
            return decode_discrete(values.argmax(-1)).to(observation.dtype)
        return values.squeeze(-1).clamp(-1.0, 1.0).to(observation.dtype)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by name: `0.weight`, `0.bias`, ..."""
        return {
            f"{index}.{part}": tensor
            for index, pair in enumerate(self._layers)
            for part, tensor in zip(("weight", "bias"), pair, strict=True)
        }

    def save(self, folder: str | Path) -> None:
        """Write the policy's folder; whatever stood there stays whole until this one is."""
        data = save_tensors(self.weights())
        card = {**self.card, "weights_sha256": hashlib.sha256(data).hexdigest()}

        def fill(aside: Path) -> None:
            files.write_bytes(aside / WEIGHTS_FILE, data)
            files.write_json(aside / CARD_FILE, card)

        files.write_folder(Path(folder), fill)
        self.card = card

    @classmethod
    def load(cls, policy: str | Path) -> FrozenPolicy:
        """Load a shipped policy by name, or a policy folder by path.

        Raises:
            UnknownNameError: neither a shipped policy nor a folder.
            PolicyError: a file in place of its folder, or a folder that is truncated, edited, or of
                another version or shape.
        """
        folder = _find(policy)
        data = _read(folder / WEIGHTS_FILE, _LARGEST_WEIGHTS)
        try:
            card = json.loads(_read(folder / CARD_FILE, _LARGEST_CARD))
        except (ValueError, RecursionError) as error:
            raise _broken(folder, f"its {CARD_FILE} is not valid JSON") from error
        if not isinstance(card, dict):
            raise _broken(folder, f"its {CARD_FILE} is not a JSON object")
        if card.get("weights_sha256") != hashlib.sha256(data).hexdigest():
            raise _broken(folder, f"its {WEIGHTS_FILE} is not the file that {CARD_FILE} describes")
        try:
            return cls(load_tensors(data), card)
        except (SafetensorError, KeyError) as error:
            # KeyError: a dtype that safetensors knows and torch does not.
            raise _broken(folder, f"its {WEIGHTS_FILE} cannot be read") from error
        except PolicyError as error:
            raise PolicyError(f"Policy {str(policy)!r}: {error}") from error


def policy_names() -> list[str]:
    """Return the names of the policies shipped with the library."""
    if not _SHIPPED.is_dir():
        return []
    return sorted(path.name for path in _SHIPPED.iterdir() if (path / CARD_FILE).is_file())


def resolve_policy(policy: str | Path | FrozenPolicy) -> FrozenPolicy:
    """Return `policy` itself, or load it. Raises PolicyError for what is neither."""
    if not isinstance(policy, str | Path | FrozenPolicy):
        raise PolicyError(
            f"A policy is a name, the path of a folder or a FrozenPolicy, not {policy!r}."
        )
    return policy if isinstance(policy, FrozenPolicy) else FrozenPolicy.load(policy)


def make_card(
    *, name: str, action_space: str, activation: str, envelope: Envelope, **about: Any
) -> dict[str, Any]:
    """Return a card with all that loading checks, and whatever else there is to say `about` it."""
    return {
        "name": name,
        "format": FORMAT,
        "features_version": FEATURES_VERSION,
        "features": list(FEATURES),
        "action_space": action_space,
        "activation": activation,
        "action_mode": envelope.mode,
        "z_max": envelope.z_max,
        "max_step": envelope.max_step,
        "z_init": envelope.z_init,
        "ceiling": envelope.ceiling,
        "schedule": envelope.schedule,
        "reach": envelope.reach,
        "leak": envelope.leak,
        "pretrained_reach": envelope.pretrained_reach,
        "shared": envelope.shared,
        **about,
    }


def _find(policy: str | Path) -> Path:
    text = str(policy)
    if _NAME.fullmatch(text) and text in policy_names():
        return _SHIPPED / text
    folder = Path(policy)
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise PolicyError(f"{folder} is a file: give the folder that holds it.")
    raise UnknownNameError("policy (neither shipped nor a folder)", text, policy_names())


def _read(path: Path, largest: int) -> bytes:
    try:
        # A pipe or a device has no size, and no end.
        if not path.is_file():
            raise _broken(path.parent, f"its {path.name} cannot be read (no such file)")
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            raise _broken(path.parent, f"its {path.name} is larger than {largest} bytes")
        return data
    except OSError as error:
        raise _broken(path.parent, f"its {path.name} cannot be read ({error.strerror})") from error


def _broken(folder: Path, what: str) -> PolicyError:
    return PolicyError(f"Policy folder {folder}: {what}; export or copy the policy again.")


def _checked_card(card: Mapping[str, Any]) -> str:
    if card.get("format", FORMAT) != FORMAT:
        raise PolicyError(
            f"its card is of format {card['format']!r}, this lr_env reads format {FORMAT}: use the "
            "lr_env that wrote it."
        )
    if card.get("features_version") != FEATURES_VERSION or card.get("features") != list(FEATURES):
        raise PolicyError(
            f"it was trained on features of version {card.get('features_version')}, this lr_env "
            f"observes version {FEATURES_VERSION}: use a policy or an lr_env of the other version."
        )
    if card.get("action_space") not in ("box", "discrete"):
        raise PolicyError(
            f"its card's action_space is 'box' or 'discrete', not {card.get('action_space')!r}."
        )
    activation = card.get("activation")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise PolicyError(
            f"its card's activation is one of {', '.join(ACTIVATIONS)}, not {activation!r}."
        )
    return activation


def _checked_weights(
    weights: Mapping[str, Tensor], card: Mapping[str, Any]
) -> list[tuple[Tensor, Tensor]]:
    count = len(weights) // 2
    names = {f"{index}.{part}" for index in range(count) for part in ("weight", "bias")}
    if not count or set(weights) != names:
        raise PolicyError(f"its weights are named {sorted(weights)}, not 0.weight, 0.bias, ....")
    # Copies: whoever made the weights may go on training them, or on another device.
    own = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()
    }
    layers = [(own[f"{i}.weight"], own[f"{i}.bias"]) for i in range(count)]
    width = len(FEATURES)
    for index, (weight, bias) in enumerate(layers):
        fits = weight.ndim == 2 and weight.shape[1] == width and bias.shape == weight.shape[:1]
        if not fits:
            raise PolicyError(f"matrix {index} has shape {tuple(weight.shape)} on {width} inputs.")
        if weight.dtype not in (torch.float32, torch.float64) or bias.dtype != weight.dtype:
            raise PolicyError(
                f"matrix {index} is of {weight.dtype} with a bias of {bias.dtype}, where both are "
                "to be torch.float32 or torch.float64."
            )
        if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise PolicyError(f"matrix {index} holds numbers that are not finite.")
        width = weight.shape[0]
    outputs = 1 if card["action_space"] == "box" else len(DISCRETE_ACTIONS)
    if width != outputs:
        raise PolicyError(f"it has {width} outputs where its action space needs {outputs}.")
    return layers


def _envelope(card: Mapping[str, Any]) -> Envelope:
    try:
        return Envelope(
            z_max=float(card["z_max"]),
            mode=card["action_mode"],
            max_step=float(card["max_step"]),
            z_init=card["z_init"],
            # Policies from before there was a ceiling were trained without one.
            ceiling=card.get("ceiling"),
            schedule=card.get("schedule", "constant"),
            reach=card.get("reach"),
            leak=float(card.get("leak", 0.0)),
            pretrained_reach=card.get("pretrained_reach"),
            shared=card.get("shared", False),
        )
    except (KeyError, TypeError, ValueError, OverflowError, LrEnvError) as error:
        raise PolicyError(f"its card describes no usable action envelope: {error}.") from error
