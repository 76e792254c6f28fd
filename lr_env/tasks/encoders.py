"""A pretrained encoder with a fresh classifier on top of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lr_env.errors import InvalidArgumentError, ModelError
from lr_env.tasks.checkpoints import Checkpoint
from lr_env.tasks.sources import missing_package
from lr_env.tasks.torchvision_import import import_torchvision

HEAD_DROPOUTS = ("classifier_dropout", "seq_classif_dropout", "cls_dropout")
"""What configurations call the dropout before the classifier."""


def build_classifier(
    checkpoint: Checkpoint, classes: int, head_dropout: float | None
) -> tuple[nn.Module, frozenset[str]]:
    """Return the classifier and the names of its parameters that are not of the checkpoint.

    Fresh parameters are drawn from torch's global generator. Weights come from safetensors
    files alone, and no code of the checkpoint's own is run.

    Raises:
        ModelError: it cannot be loaded as a classifier, or lacks weights of its encoder.
        InvalidArgumentError: it has no dropout before the classifier that could be set.
    """
    transformers = _transformers()
    try:
        with _quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(
                checkpoint.folder, num_labels=classes, trust_remote_code=False
            )
            _set_dropout(config, head_dropout, checkpoint)
            model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype="float32",
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except InvalidArgumentError:
        raise
    except Exception as error:
        # Libraries below raise dozens of types here; the user can do the same about all of them.
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"The model {checkpoint.label!r} cannot be loaded as a text classifier ({why}): give "
            "model= a BERT-like encoder, written by save_pretrained or from the hub."
        ) from error
    fresh = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    _check_encoder(model, fresh, checkpoint)
    return model, frozenset(fresh)


def _check_encoder(model: Any, fresh: set[str], checkpoint: Checkpoint) -> None:
    """Raise ModelError unless all of the encoder but its pooler came from the checkpoint."""
    encoder = f"{model.base_model_prefix}."
    lost = sorted(key for key in fresh if key.startswith(encoder) and "pooler" not in key)
    if lost:
        raise ModelError(
            f"The weights of model {checkpoint.label!r} are not those of its config.json: "
            f"{len(lost)} of the encoder are missing or of another shape, {lost[0]} first; save "
            "it anew with save_pretrained, or give another model=."
        )


def _set_dropout(config: Any, probability: float | None, checkpoint: Checkpoint) -> None:
    if probability is None:
        return
    names = [name for name in HEAD_DROPOUTS if hasattr(config, name)]
    if not names:
        raise InvalidArgumentError(
            f"The model {checkpoint.label!r} ({config.model_type}) has no dropout before its "
            "classifier that could be set: leave head_dropout away."
        )
    setattr(config, names[0], probability)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise missing_package("transformers") from error
    import_torchvision()  # transformers' models import it, if it is there
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep the loading bar and the report of fresh weights, which are meant to be, off stderr."""
    logging = transformers.utils.logging
    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()
