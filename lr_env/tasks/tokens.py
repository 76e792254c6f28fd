"""Texts as token ids: encoded once for all processes that use the same texts and vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lr_env.errors import ModelError
from lr_env.tasks.cache import Entry, cached
from lr_env.tasks.checkpoints import Checkpoint
from lr_env.tasks.ragged import Ragged
from lr_env.tasks.sources import data_error, missing_package
from lr_env.tasks.subsets import PARTS

_CHUNK = 1_000


def read_texts(name: str, rows: Any, split: str, column: str) -> Ragged:
    """Return the texts in a column of a `datasets.Dataset`, as UTF-8 bytes.

    Raises:
        DataError: something there is no text.
    """
    texts = rows[column][:]
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise data_error(
                name,
                f"row {number} of its {split} split has no text in {column!r} but {text!r:.40}",
            )
    return Ragged.of(np.frombuffer(text.encode(), dtype=np.uint8) for text in texts)


def token_ids(stored: Entry, checkpoint: Checkpoint, max_tokens: int) -> Mapping[str, Tensor]:
    """Return `train` and `test` as ragged token ids, and `fill`, the id of padding.

    Longer texts are cut off after `max_tokens` tokens, special ones counted, or fewer where the
    encoder cannot take so many.

    Raises:
        ModelError: the checkpoint's tokenizer cannot be used.
    """
    key = f"{stored.hash} {checkpoint.vocabulary_hash()} {max_tokens}"
    return cached("tokens", key, lambda: _encode(stored, checkpoint, max_tokens)).tensors


def _encode(stored: Entry, checkpoint: Checkpoint, max_tokens: int) -> dict[str, Tensor]:
    tokenizer = _tokenizer(checkpoint)
    config = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
    positions = config.get("max_position_embeddings") or max_tokens
    longest = min(max_tokens, tokenizer.model_max_length, positions)
    fill = tokenizer.pad_token_id
    tensors = {"fill": torch.tensor(0 if fill is None else fill)}
    for part in PARTS:
        texts = Ragged.named(stored.tensors, f"{part}_texts")
        ids = Ragged.of(_encoded(tokenizer, texts, longest))
        if int(ids.values.max()) >= config.get("vocab_size", np.inf):
            raise ModelError(
                f"The tokenizer of model {checkpoint.label!r} knows more tokens than its weights: "
                "save model and tokenizer in one folder with save_pretrained."
            )
        tensors |= ids.tensors(part)
    return tensors


def _encoded(tokenizer: Any, texts: Ragged, longest: int) -> Any:
    for start in range(0, len(texts), _CHUNK):
        stop = min(start + _CHUNK, len(texts))
        chunk = [texts[row].numpy().tobytes().decode() for row in range(start, stop)]
        for ids in tokenizer(chunk, truncation=True, max_length=longest)["input_ids"]:
            yield np.asarray(ids, dtype=np.int32)


def _tokenizer(checkpoint: Checkpoint) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise missing_package("transformers") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        # Libraries below raise dozens of types here; the user can do the same about all of them.
        raise _no_tokenizer(checkpoint, " ".join(str(error).split())[:160]) from error
    # Without a vocabulary there is a tokenizer all the same, to which every word is unknown.
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise _no_tokenizer(checkpoint, "it knows no words")
    return tokenizer


def _no_tokenizer(checkpoint: Checkpoint, why: str) -> ModelError:
    return ModelError(
        f"The tokenizer of model {checkpoint.label!r} cannot be used ({why}): save it into "
        f"{checkpoint.folder} with save_pretrained, or give another model=."
    )
