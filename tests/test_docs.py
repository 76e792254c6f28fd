"""The documents tell the truth: their code runs, their tables and trees are those of the code."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import lr_env  # noqa: F401 - registers the ids
from experiments.arms import METHODS
from lr_env.action import DISCRETE_ACTIONS
from lr_env.controller import LRController
from lr_env.env import LayerwiseLREnv
from lr_env.observation import BOUND, FEATURES
from lr_env.registration import ENV_IDS
from lr_env.tasks.cifar10 import Cifar10
from lr_env.tasks.imdb import Imdb
from lr_env.tasks.sst2 import Sst2
from lr_env.tasks.text_task import TextRecipe

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
ENVIRONMENT = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
CONTROLLER = (ROOT / "docs" / "controller.md").read_text(encoding="utf-8")
SKIP = "<!-- skip-test -->"


def code_blocks() -> list[tuple[str, str]]:
    blocks = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if not text[: found.start()].rstrip().endswith(SKIP):
                line = text[: found.start()].count("\n") + 2
                blocks.append((f"{page.relative_to(ROOT)}:{line}", found.group(1)))
    return blocks


def table(heading: str, page: str = ENVIRONMENT) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading of a page, by name."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return {next(cell for cell in row if cell.startswith("`")): row for row in rows[2:]}


@pytest.mark.parametrize(("where", "code"), code_blocks(), ids=lambda value: value[:40])
def test_python_blocks_run(
    where: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not where.startswith("README") and "\nclass " not in code:
        monkeypatch.chdir(tmp_path)
        exec(compile(code, where, "exec"), {"__name__": "__main__"})  # noqa: S102
        return
    # As a newcomer runs it: nothing imported before, and classes that pickle finds.
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{where}\n{done.stderr}"


def test_the_page_names_every_feature_at_its_index() -> None:
    rows = table("Observation space")
    assert [name.strip("`") for name in rows] == list(FEATURES)
    assert [row[0] for row in rows.values()] == [str(i) for i in range(len(FEATURES))]
    assert f"`Box(-{BOUND:g}, {BOUND:g}, (L, {len(FEATURES)}), float32)`" in ENVIRONMENT


@pytest.mark.parametrize(
    ("owner", "page"), [(LayerwiseLREnv, ENVIRONMENT), (LRController, CONTROLLER)]
)
def test_the_page_names_every_argument_with_its_default(owner: type, page: str) -> None:
    parameters = list(inspect.signature(owner).parameters.values())
    rows = table("Arguments", page)
    assert [name.strip("`") for name in rows] == [parameter.name for parameter in parameters]
    for parameter in parameters:
        default = repr(parameter.default).replace("'", '"')
        said = "" if parameter.default is parameter.empty else f"`{default}`"
        assert rows[f"`{parameter.name}`"][1] == said, parameter.name


def test_the_page_names_what_the_controller_offers() -> None:
    said = {
        name for row in table("What it offers", CONTROLLER) for name in re.findall(r"`(\w+)", row)
    }
    assert said == {name for name in vars(LRController) if not name.startswith("_")} | {"history"}


def test_the_class_documents_every_argument() -> None:
    documented = re.findall(r"^ {4}(\w+): ", inspect.getdoc(LayerwiseLREnv) or "", re.MULTILINE)
    wanted = list(inspect.signature(LayerwiseLREnv.__init__).parameters)[1:]
    assert [name for name in documented if name in wanted] == wanted


def test_the_page_names_what_info_holds_and_what_actions_mean() -> None:
    env = gymnasium.make("lr_env/LayerwiseLR-v0", task="toy", num_decisions=2)
    _, info = env.reset(seed=0)
    assert [name.strip("`") for name in table("Info")] == list(info)
    meanings = table("Action space")["`a_l`"][1:]
    assert [float(value) for value in meanings] == list(DISCRETE_ACTIONS)
    assert all(f'gymnasium.make("{env_id}")' in ENVIRONMENT for env_id in ENV_IDS)


def test_the_readme_tree_names_every_file_of_the_library_and_no_other() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    named: set[str] = set()
    top = ""
    for line in tree.splitlines():
        paths = [path.rstrip(",") for path in re.split(r" {2,}", line.strip())[0].split(", ")]
        if not line.startswith(" "):
            (top,) = paths
        named |= {top if path == top else top + path for path in paths}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    library = ROOT / "lr_env"
    files = {f"lr_env/{path.name}" for path in library.glob("*.py")} - {"lr_env/__init__.py"}
    folders = {f"lr_env/{path.parent.name}/" for path in library.glob("*/__init__.py")}
    assert files | folders <= named


def test_the_page_of_tasks_names_every_scale_as_it_is() -> None:
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| (`\w+` \| `(?:smoke|quick|paper)`) \| (.*) \|$", page, re.MULTILINE)
    )
    stored = {"cifar10": (50_000, 10_000), "imdb": (25_000, 25_000), "sst2": (67_349, 872)}
    expected = {}
    for task in (Cifar10, Imdb, Sst2):
        train, test = stored[task.name]
        for scale, own in task.recipes.items():
            sizes = (own.train or train - own.validation, own.validation, own.test or test)
            if isinstance(own, TextRecipe):
                model = f"{own.max_tokens} tokens"
            else:
                model = {"imagenet": "ImageNet stem", "cifar": "CIFAR stem"}[own.stem]
            expected[f"`{task.name}` | `{scale}`"] = " | ".join([
                *(f"{size:,}" for size in sizes), str(own.epochs), str(own.batch_size), model,
                f"{own.target_accuracy:.2f}",
            ])  # fmt: skip
    assert rows == expected


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_protocol_names_every_arm() -> None:
    protocol = (ROOT / "experiments" / "protocol.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in protocol] == []
