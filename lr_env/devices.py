"""Where trainings compute: the CPU or a GPU, and the way back from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lr_env.errors import InvalidArgumentError

Device = str | torch.device


def check_device(device: Device) -> torch.device:
    """Return the device of that name.

    Raises:
        InvalidArgumentError: it is none that trainings can compute on here.
    """
    try:
        known = torch.device(device)
        usable = known.type in ("cpu", "cuda")
        torch.empty(0, device=known)
    except (RuntimeError, AssertionError, TypeError):
        # An unknown name, a GPU that is not there, a build of PyTorch without CUDA.
        usable = False
    if not usable:
        count = torch.cuda.device_count()
        raise InvalidArgumentError(
            f"device is 'cpu' or a GPU that PyTorch can use, 'cuda' or 'cuda:0' say, and not "
            f"{str(device)!r} where it sees {count or 'none'} of them: leave device out, or "
            "install a build of PyTorch for your GPU."
        )
    return known


def placed(batch: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """Return `batch`, a nest of tensors, on `device`; floating-point ones in `dtype` if given."""
    if isinstance(batch, Tensor):
        own = batch.dtype if dtype is None or not batch.is_floating_point() else dtype
        return batch.to(device, own, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: placed(value, device, dtype) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [placed(value, device, dtype) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def copied_to_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of `tensors`, on the CPU."""
    return {name: own.to("cpu", copy=True) for name, own in tensors.items()}


def on_host(tensor: Tensor) -> Tensor:
    """Return `tensor` on the CPU; a GPU is waited for."""
    return tensor.cpu()
