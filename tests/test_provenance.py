"""The account of a run: enough to repeat it, and nothing of the machine's paths."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from lr_env.provenance import code_revision, describe_run

ROOT = Path(__file__).parent.parent


def test_the_account_is_json_and_names_versions_and_config() -> None:
    account = json.loads(json.dumps(describe_run({"seed": 3})))
    assert account["config"] == {"seed": 3}
    assert account["versions"]["torch"] == torch.__version__
    assert account["machine"]["torch_threads"] == torch.get_num_threads()
    revision = account["revision"]
    assert revision is None or len(revision.partition("+")[0]) == 40
    assert revision == code_revision()


def test_the_command_can_be_pasted_and_hides_the_interpreters_path(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(
        "from lr_env.provenance import command_line\nprint(command_line())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tool", "--name", "a b"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "python -m tool --name 'a b'\n"
