"""Records: written whole, trusted only if they are sound and of the same settings."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from experiments import runs
from experiments.arms import parse_arms
from experiments.policies import behaviour, shares_actions
from experiments.records import RecordFile
from experiments.runs import RunSpec, fingerprint
from lr_env.action import Envelope
from lr_env.errors import InvalidArgumentError
from lr_env.policy import FrozenPolicy
from tests.toys import make_policy

TASK = {"name": "toy", "hash": "abc", "epochs": 3, "batch_size": 16}
ADAM, AGENT = parse_arms("adam agent")
SPEC = RunSpec(
    task="toy", task_arguments={}, seed=4, arm=AGENT, policy="p", epochs=3, batch_size=16
)
RECORD = {"arm": "agent", "seed": 4, "points": [{"loss": 0.1 + 0.2}], "test": {"loss": None}}


def policy(tmp_path: Path, **changes: Any) -> Any:
    chosen = make_policy(**changes)
    chosen.save(tmp_path / "policy")
    return chosen


def test_round_trip_is_exact_and_leaves_nothing_aside(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records", "below/agent", "f")
    assert file.load() is None
    file.save(RECORD)
    assert file.load() == RECORD
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / "records" / "below" / "agent.json"]


@pytest.mark.parametrize("name", ["", "../agent", "/agent", "below/.agent", "a agent", "below/"])
def test_names_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be a file name"):
        RecordFile(tmp_path, name, "f")


def test_other_settings_are_not_trusted(tmp_path: Path) -> None:
    file = RecordFile(tmp_path, "agent", "f")
    file.save(RECORD)
    assert replace(file, fingerprint="g").load() is None
    assert replace(file, name="adam").load() is None


def test_a_record_of_other_settings_makes_room_and_is_found_again(tmp_path: Path) -> None:
    one = RecordFile(tmp_path, "below/agent", "f")
    other = replace(one, fingerprint="../g")
    one.save(RECORD)
    other.save({**RECORD, "seed": 5})
    assert one.load() == RECORD
    assert other.load() == {**RECORD, "seed": 5}
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert other.path == tmp_path / "below" / "agent.json"


def test_a_record_of_the_first_version_is_trusted(tmp_path: Path) -> None:
    # Written out, not saved: what is on people's disks does not follow our code.
    (tmp_path / "agent-seed4.json").write_text(
        '{"fingerprint": "f", "record": {"loss": 0.5, "arm": "agent"}, "sha256": '
        '"e7d3e3702ead7ca345490c0380387377e0728ef9f07d07c73b771a583da8a43e"}'
    )
    assert RecordFile(tmp_path, SPEC.name, "f").load() == {"arm": "agent", "loss": 0.5}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text.replace("0.30000000000000004", "0.2"),
        lambda text: text.replace('"seed": 4', '"seed": 5'),
        lambda text: json.dumps({"fingerprint": "f"}),
    ],
)
def test_damaged_records_are_not_trusted(tmp_path: Path, damage: Any) -> None:
    file = RecordFile(tmp_path, "agent", "f")
    file.save(RECORD)
    path = file.path
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    assert file.load() is None


def test_binary_rubbish_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_bytes(b"\xff\xfe\x00")
    assert RecordFile(tmp_path, "agent", "f").load() is None


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, seed=5),
        replace(SPEC, arm=ADAM),
        replace(SPEC, arm=parse_arms("agent@0.01")[0]),
        replace(SPEC, task_arguments={"architecture": "dropout"}),
        replace(SPEC, device="cuda"),
        replace(SPEC, recipe="hf-warmup"),
        replace(SPEC, scale="paper"),
        replace(SPEC, read_test=False),
    ],
)
def test_fingerprint_tells_runs_apart(tmp_path: Path, other: RunSpec) -> None:
    own = policy(tmp_path)
    assert fingerprint(other, TASK, own, False) != fingerprint(SPEC, TASK, own, False)


def test_a_tuned_arm_s_runs_are_those_of_its_rate(tmp_path: Path) -> None:
    tuned = replace(SPEC, arm=parse_arms("adam@best")[0].at(0.01).settled)
    fixed = replace(SPEC, arm=parse_arms("adam@0.01")[0])
    first, second = (
        RecordFile(tmp_path, spec.name, fingerprint(spec, TASK, None, False))
        for spec in (fixed, tuned)
    )
    first.save(RECORD)
    assert second.load() == RECORD


def test_fingerprint_follows_data_budget_policy_and_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = policy(tmp_path)
    print_ = fingerprint(SPEC, TASK, own, False)
    assert fingerprint(SPEC, dict(TASK), own, False) == print_
    assert fingerprint(SPEC, {**TASK, "hash": "abd"}, own, False) != print_
    assert fingerprint(SPEC, {**TASK, "epochs": 4}, own, False) != print_
    assert fingerprint(SPEC, TASK, policy(tmp_path, seed=1), False) != print_
    slower = policy(tmp_path, envelope=Envelope(z_max=4.0, max_step=0.5))
    assert slower.card["weights_sha256"] == own.card["weights_sha256"]
    assert fingerprint(SPEC, TASK, slower, False) != print_
    monkeypatch.setattr(runs, "FORMAT", runs.FORMAT + 1)
    assert fingerprint(SPEC, TASK, own, False) != print_


def test_where_data_and_weights_lie_is_no_part_of_a_record(tmp_path: Path) -> None:
    own = policy(tmp_path)
    told = {**TASK, "model_hash": "abc", "source": "owner/name"}
    print_ = fingerprint(SPEC, told, own, False)
    moved = replace(SPEC, task_arguments={"data": "here", "model": "there"})
    assert fingerprint(moved, {**told, "source": "folder"}, own, False) == print_
    # A task that has no hash of its weights is known by their place alone.
    known = {name: value for name, value in told.items() if name != "model_hash"}
    assert fingerprint(moved, known, own, False) != fingerprint(SPEC, known, own, False)


@pytest.mark.parametrize("package", ["torch", "numpy", "transformers"])
def test_a_record_depends_on_versions_and_not_on_the_build_for_a_cpu(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = policy(tmp_path)
    print_ = fingerprint(SPEC, TASK, own, False)
    known = runs.package_versions(runs.PACKAGES)

    def pretend(found: str) -> None:
        monkeypatch.setattr(runs, "version", lambda name: found if name == package else known[name])
        monkeypatch.setattr(runs, "package_versions", lambda names: {**known, package: found})

    pretend("0.0.1")
    assert fingerprint(SPEC, TASK, own, False) != print_
    if package == "torch":
        pretend(known["torch"].partition("+")[0] + "+cu999")
        assert fingerprint(SPEC, TASK, own, False) == print_
        on_gpu = replace(SPEC, device="cuda")
        built = fingerprint(on_gpu, TASK, own, False)
        pretend(known["torch"].partition("+")[0] + "+cu998")
        assert fingerprint(on_gpu, TASK, own, False) != built


def test_a_new_policy_does_not_touch_the_baselines(tmp_path: Path) -> None:
    spec = replace(SPEC, arm=ADAM)
    first, second = policy(tmp_path), policy(tmp_path, seed=1)
    assert fingerprint(spec, TASK, first, False) == fingerprint(spec, TASK, second, False)


def test_a_record_depends_on_everything_that_the_envelope_is() -> None:
    names = {"mode": "action_mode"}
    for field in fields(Envelope):
        name = names.get(field.name, field.name)
        card = {"weights_sha256": "a", name: True if name == "shared" else 1.0}
        policy = SimpleNamespace(card=card)
        assert behaviour(policy, pretrained=True, shares=True) == card  # type: ignore[arg-type]


def test_sharing_decides_only_where_several_layers_do_and_never_a_control(tmp_path: Path) -> None:
    own = policy(tmp_path)
    envelope = {"shared": True, "pretrained_reach": 0.0}
    shared = FrozenPolicy(own.weights(), {**own.card, **envelope})
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    assert shares_actions(shared, model, lambda name: False)
    assert not shares_actions(shared, model, lambda name: not name.startswith("2."))
    assert not shares_actions(own, model, lambda name: False)
    free = FrozenPolicy(own.weights(), {**shared.card, "pretrained_reach": None})
    assert shares_actions(free, model, lambda name: True)

    def same(spec: RunSpec, shares: bool) -> bool:
        return fingerprint(spec, TASK, shared, shares=shares) == fingerprint(spec, TASK, own)

    assert same(SPEC, shares=False)
    assert not same(SPEC, shares=True)
    assert same(replace(SPEC, arm=parse_arms("random")[0]), shares=True)


def test_what_a_policy_does_to_pretrained_layers_decides_only_where_there_are_some(
    tmp_path: Path,
) -> None:
    own = policy(tmp_path)
    held = FrozenPolicy(own.weights(), {**own.card, "pretrained_reach": 0.0})
    assert fingerprint(SPEC, TASK, held, False) == fingerprint(SPEC, TASK, own, False)
    assert fingerprint(SPEC, TASK, held, True) != fingerprint(SPEC, TASK, own, True)
