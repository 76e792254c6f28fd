"""Importing torchvision where its build does not fit torch's.

The registry's torchvision is built for CUDA. Beside a CPU build of torch its C++ extension does
not load, the operator `torchvision::nms` that it would define is absent, and the import fails;
transformers, which imports torchvision with its models, fails with it. Classification needs none
of these operators: with their schemas defined, and no code behind them, everything else works.
"""

from __future__ import annotations

import sys
from types import ModuleType

import torch

from lr_env.tasks.sources import missing_package

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Return torchvision; call it before anything that imports torchvision by itself.

    Raises:
        DataError: it is not installed.
    """
    try:
        return _imported()
    except ImportError as error:
        raise missing_package("torchvision") from error
    except RuntimeError as error:
        # A build that fits defines the operators itself, and must not find them defined.
        if "torchvision::" not in str(error):
            raise
    _define_operators()
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    return _imported()


def _imported() -> ModuleType:
    import torchvision

    module: ModuleType = torchvision
    return module


def _define_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)  # type: ignore[no-untyped-call]
    _libraries.append(library)  # definitions end with the object that made them
