"""Which parameters of a model start from pretrained weights."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn

from lr_env.errors import ModelError

Pretrained = bool | Collection[str] | Callable[[str], bool] | None
"""Said of all; names of parameters and modules; by a parameter's name; None: found out."""


def pretrained_names(model: nn.Module, pretrained: Pretrained) -> Callable[[str], bool]:
    """Return which parameters are pretrained, by their names.

    None: those that transformers loaded from a checkpoint; nothing is known of other libraries.

    Raises:
        ModelError: a name that is neither a parameter's nor a module's with parameters.
    """
    if pretrained is None:
        return _loaded_by_transformers(model)
    if isinstance(pretrained, bool):
        return lambda name: pretrained
    if callable(pretrained):
        return pretrained
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

    It is the base models of those that remember a place which they came from, and whatever bears
    the mark that version 5 leaves on a loaded parameter: heads too. Marks alone would not do, since
    copied parameters and resized embeddings have none.
    """
    marked = {
        name
        for name, parameter in model.named_parameters()
        if getattr(parameter, "_is_hf_initialized", False)
    }
    owners = [
        ".".join(part for part in (name, _base_of(module)) if part)
        for name, module in model.named_modules()
        if getattr(module, "base_model_prefix", "") and getattr(module, "name_or_path", "")
    ]
    return lambda name: name in marked or any(not own or _belongs(name, own) for own in owners)


def _base_of(module: nn.Module) -> str:
    """Return the name of the base model inside a transformers model; empty if it is one itself."""
    prefix = str(module.base_model_prefix)
    return prefix if isinstance(getattr(module, prefix, None), nn.Module) else ""


def _belongs(name: str, owner: str) -> bool:
    return name == owner or name.startswith(f"{owner}.")
