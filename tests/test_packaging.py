"""The wheel holds the library, its policies and its type marker, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

from lr_env.policy import policy_names
from tests.toys import make_policy

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built offline from a copy of the sources, with a policy added if none is shipped."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for package in ("lr_env", "agents", "experiments", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    if not policy_names():
        make_policy().save(folder / "lr_env" / "policies" / "random")
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder / "dist")],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").glob("lr_env-*.whl")
    return zipfile.ZipFile(built)


def test_holds_every_file_of_the_library_and_no_other_package(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"lr_env"}
    files = (ROOT / "lr_env").rglob("*")
    sources = {path for path in files if path.suffix in (".py", ".cpp", ".h")}
    assert {path.relative_to(ROOT).as_posix() for path in sources} <= names
    assert "lr_env/py.typed" in names


def test_holds_the_policies_whole(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    shipped = policy_names() or ["random"]
    for policy in shipped:
        for file in ("card.json", "policy.safetensors"):
            assert f"lr_env/policies/{policy}/{file}" in names


def test_metadata_names_licence_and_requirements(wheel: zipfile.ZipFile) -> None:
    (info,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(info).decode()
    assert "License-Expression: Apache-2.0" in metadata
    plain = [
        line.removeprefix("Requires-Dist: ").partition(">")[0]
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert sorted(plain) == ["numpy", "safetensors", "torch"]
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {w.partition(">")[0].strip().lower().replace("_", "-") for w in wanted}
    names = {name for name in names if not name.startswith("lr-env")}
    pins = [
        line.partition("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(equals == "==" for _, equals, _ in pins)
    assert all("+" not in version and "@" not in version for _, _, version in pins)
    assert names <= {name.lower().replace("_", "-") for name, _, _ in pins}
