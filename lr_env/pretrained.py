"""Which parameters of a model start from pretrained weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable

from torch import nn

from lr_env.errors import ModelError
from lr_env.user_warnings import warn_user

Pretrained = bool | Collection[str] | Callable[[str], bool] | None
"""Said of all; names of parameters and modules; by a parameter's name; None: found out."""


def pretrained_names(model: nn.Module, pretrained: Pretrained) -> Callable[[str], bool]:
    """Return which parameters are pretrained, by their names.

    None: those that transformers loaded from a checkpoint; nothing is known of other libraries.

    Raises:
        ModelError: it is none of these, or a name that is neither a parameter's nor a module's
            with parameters.
    """
    if pretrained is None:
        return _loaded_by_transformers(model)
    if isinstance(pretrained, bool):
        return lambda name: pretrained
    if callable(pretrained):
        return pretrained
    if not isinstance(pretrained, Iterable):
        raise ModelError(
            f"pretrained is True or False, names of parameters or modules, a function of the name "
            f"or None, not {pretrained!r}."
        )
    chosen = (pretrained,) if isinstance(pretrained, str) else tuple(pretrained)
    known = [name for name, _ in model.named_parameters()]
    for own in chosen:
        if not any(_belongs(name, own) for name in known):
            raise ModelError(
                f"pretrained names {own!r}, and the model has no such parameter and no such module "
                f"with parameters: its first parameter is {known[0] if known else 'none'!r}."
            )
    return lambda name: any(_belongs(name, own) for own in chosen)


def _loaded_by_transformers(model: nn.Module) -> Callable[[str], bool]:
    """Return which parameters transformers loaded, wherever in the model its own models are.

    It is whatever bears the mark that version 5 leaves on a loaded parameter, heads too, adapters
    not, and the embeddings beside such ones, since resized embeddings have none. Where a model
    without any mark, a copy or one of version 4, remembers a place which it came from, it is the
    whole base model.
    """
    names = [name for name, _ in model.named_parameters()]
    loaded = {
        name
        for name, parameter in model.named_parameters()
        if getattr(parameter, "_is_hf_initialized", False)
    }
    for name, module in model.named_modules():
        if not (getattr(module, "base_model_prefix", "") and getattr(module, "name_or_path", "")):
            continue
        base = ".".join(part for part in (name, _base_of(module)) if part)
        own = {name for name in names if not base or _belongs(name, base)}
        if loaded & own:
            loaded |= own & _embeddings(model)
        else:
            loaded |= own
            _say_that_it_is_a_guess(str(module.name_or_path))
    return lambda name: name in loaded


def _embeddings(model: nn.Module) -> set[str]:
    kinds = (nn.Embedding, nn.EmbeddingBag)
    return {f"{name}.weight" for name, own in model.named_modules() if isinstance(own, kinds)}


def _say_that_it_is_a_guess(place: str) -> None:
    """Warn that a copy cannot be told from a model made anew; version 4 never marks anything."""
    version = str(getattr(sys.modules.get("transformers"), "__version__", ""))
    if not version.startswith("4."):
        warn_user(
            f"The model remembers {place!r} and bears no mark of what was loaded from there: it is "
            "taken for pretrained, as a copy would be. Say pretrained=True of a copy, and "
            "pretrained=False of a model made anew from a config that was loaded."
        )


def _base_of(module: nn.Module) -> str:
    """Return the name of the base model inside a transformers model; empty if it is one itself."""
    prefix = str(module.base_model_prefix)
    return prefix if isinstance(getattr(module, prefix, None), nn.Module) else ""


def _belongs(name: str, owner: str) -> bool:
    return name == owner or name.startswith(f"{owner}.")
