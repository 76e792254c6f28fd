"""The ablation: variants of one meta-training on equal trainings, resumable."""

from pathlib import Path

import pytest
import torch

from agents import ablation
from agents.ablation import REFERENCE, VARIANTS, AblationConfig, ablate
from agents.config import TrainConfig
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.files import write_json


def test_every_variant_is_a_config_that_differs_from_the_reference() -> None:
    assert VARIANTS[REFERENCE] == {}
    reference = TrainConfig().to_dict()
    for name, changes in VARIANTS.items():
        assert (TrainConfig(**changes).to_dict() != reference) == (name != REFERENCE)


def test_finished_runs_are_not_repeated_and_differences_are_paired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[TrainConfig] = []

    def record(config: TrainConfig, report: bool) -> None:
        assert not report
        begun.append(config)
        run = config.out / "run"
        (run / "policies" / "final").mkdir(parents=True)
        write_json(run / "run.json", {"config": config.to_dict()})

    gains = {"reference": 0.5, "residual-actions": 0.25}
    noise = torch.linspace(-1.0, 1.0, 20)
    monkeypatch.setattr(ablation, "train", record)
    monkeypatch.setattr(ablation.FrozenPolicy, "load", lambda path: path)
    monkeypatch.setattr(
        ablation,
        "_scores",
        lambda path: [noise + gains[path.parent.parent.parent.name.rpartition("-")[0]]] * 3,
    )
    config = AblationConfig(("residual actions",), (42, 43), 300, tmp_path)
    table = ablate(config)
    # Two meta-trainings make no interval.
    assert "| residual actions | 0.250 | -0.250 | 0.250 | -0.250 | 0.250 | -0.250 |" in table
    assert len(begun) == 4
    assert ablate(config) == table
    assert len(begun) == 4
    with pytest.raises(InvalidArgumentError, match="other settings"):
        ablate(AblationConfig(("residual actions",), (42, 43), 400, tmp_path))


def test_intervals_are_over_meta_trainings() -> None:
    trainings = torch.linspace(-1.0, 1.0, 20)
    gaps = torch.stack([trainings + own for own in (0.1, 0.2, 0.3)])
    # t quantile 4.303, deviation 0.1, three seeds: what trainings differ by does not enter.
    assert ablation._difference(gaps) == "+0.200 [-0.048, +0.448]"


def test_a_variant_that_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'residual actions'"):
        AblationConfig(("residual action",))
