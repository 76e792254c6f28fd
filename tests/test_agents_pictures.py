"""The picture of a meta-training: a line for every layer, from every base rate."""

import pytest

from agents import pictures
from lr_env.policy import FrozenPolicy


def test_every_layer_has_its_line_and_the_base_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SHOWN", ("scenes", "sequence"))
    monkeypatch.setattr(pictures, "PART_A", [
        pictures.replace(entry, total_steps=8) for entry in pictures.PART_A
    ])  # fmt: skip
    figure = pictures.rate_trajectories(FrozenPolicy.load("ppo-v1"))
    assert len(figure.axes) == 4
    for panel in figure.axes:
        (base,) = {panel.get_title().split(" from ")[1].split(":")[0]}
        *layers, dotted = panel.lines
        assert len(layers) >= 2
        assert dotted.get_ydata()[0] == float(base)
        for line in layers:
            assert len(line.get_ydata()) == 4
            assert all(0.0 < rate < 20.0 for rate in line.get_ydata())
