"""torchvision and the models of transformers import, whatever build of torchvision is there."""

import subprocess
import sys
from pathlib import Path

import pytest

from lr_env.errors import DataError
from lr_env.tasks.torchvision_import import import_torchvision

ROOT = Path(__file__).parent.parent

# The first half is what another library has done, or nothing.
FITTING_BUILD = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
IMPORTS = """
from lr_env.tasks.torchvision_import import import_torchvision
assert import_torchvision() is import_torchvision()
assert import_torchvision().models.resnet18(num_classes=10).fc.out_features == 10
from transformers import BertForSequenceClassification
"""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="as installed"),
        pytest.param(FITTING_BUILD, id="operators defined", marks=pytest.mark.slow),
    ],
)
def test_everything_that_needs_torchvision_imports(before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", before + IMPORTS],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DataError, match=r"needs torchvision.*pip install 'lr-env\[tasks\]'"):
        import_torchvision()
