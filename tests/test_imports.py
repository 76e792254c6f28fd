"""What may be imported where: the controller's few needs, and the direction between packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from lr_env.policy import policy_names
from tests.toys import make_policy

ROOT = Path(__file__).parent.parent
FORBIDDEN = (
    "gymnasium", "stable_baselines3", "pandas", "sklearn", "datasets", "transformers",
    "torchvision", "matplotlib", "scipy", "tyro", "rich", "jinja2", "ray", "tensorboard",
)  # fmt: skip

CONTROLLED_TRAINING = f"""
import sys
for name in {FORBIDDEN!r}:
    sys.modules[name] = None  # importing it raises ImportError

import lr_env.controller
import torch

model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
controller = lr_env.controller.LRController(model, optimizer, policy=sys.argv[1], total_steps=5)
for _ in range(5):
    loss = model(torch.ones(2, 4)).square().mean()
    loss.backward()
    controller.observe(loss)
    optimizer.step()
    optimizer.zero_grad()
assert len(controller.history) == 5
loaded = set(sys.modules) & {{"gymnasium", "agents", "experiments"}}
assert not {{name for name in loaded if sys.modules[name] is not None}}, loaded
print("rates", *controller.learning_rates.values())
"""


def run_controller(policy: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CONTROLLED_TRAINING, policy],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_controller_runs_a_policy_folder_on_torch_numpy_and_safetensors_alone(
    tmp_path: Path,
) -> None:
    make_policy().save(tmp_path / "mine")
    assert run_controller(str(tmp_path / "mine")).startswith("rates")


@pytest.mark.parametrize("name", policy_names())
def test_the_controller_runs_every_shipped_policy(name: str) -> None:
    assert run_controller(name).startswith("rates")


def test_the_trainer_s_callback_needs_transformers_besides_and_nothing_more() -> None:
    code = f"""
import sys
for name in {FORBIDDEN!r}:
    if name != "transformers":
        sys.modules[name] = None
from lr_env.integrations.transformers import LRControllerCallback
LRControllerCallback("ppo-v1")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def imported_by(path: Path) -> set[str]:
    """Return the top-level names that a file imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("lr_env", {"agents", "experiments", "tests", "stable_baselines3", "jinja2"}),
        ("agents", {"experiments", "tests"}),
        ("experiments", {"agents", "tests"}),
    ],
)
def test_packages_import_in_one_direction(package: str, never: set[str]) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(path.relative_to(ROOT)): imported_by(path) & never for path in files}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("library", "files"),
    [
        ("gymnasium", {"env.py", "registration.py", "slot_view.py", "vector_env.py"}),
        ("tyro", {"command_line.py"}),
    ],
)
def test_libraries_stay_in_the_files_that_need_them(library: str, files: set[str]) -> None:
    users = {
        path.relative_to(ROOT / "lr_env").as_posix()
        for path in (ROOT / "lr_env").rglob("*.py")
        if library in imported_by(path)
    }
    assert users == files
