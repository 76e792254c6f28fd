"""The mix of stacks: what is drawn, and that it acts as the exported card will say."""

import numpy as np
import pytest

from agents.config import TrainConfig
from agents.curriculum import REHEARSAL_TURNS, StackPlan, envelope, plan_stack
from agents.regimes import BY_HEART, FEW_PASSES, PLENTY, SEPARABLE
from lr_env.layers import group_layers
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks.family import build_network


@pytest.mark.parametrize("start", ["matched", "calibrated", "cautious"])
def test_the_narrow_envelope_moves_as_the_card_of_the_wide_one_says(start: str) -> None:
    wide, narrow = (envelope(TrainConfig(start=start), narrow) for narrow in (False, True))
    assert wide.around(narrow.z_max, narrow.z_init) == narrow


def learns_by_heart(plan: StackPlan) -> bool:
    return plan.spec.label_noise == BY_HEART.label_noise


def test_who_learns_by_heart_sees_a_validation_loss_as_often_as_is_told() -> None:
    config = TrainConfig(by_heart_seen=0.75)
    pairs = [(index, turn) for index in range(10) for turn in range(10)]
    plans = [plan_stack(config, *pair) for pair in pairs]
    by_heart = [plan for plan in plans if learns_by_heart(plan)]
    assert 15 <= len(by_heart) <= 20
    for plan in by_heart:
        _, longest = plan.entry.settings.total_steps
        assert longest * plan.spec.batch_size / plan.spec.train_size > 5.0
        assert not plan.fine_tunes
        assert plan.entry.settings.envelope.z_init == "matched"
    for plan in plans:
        told = config.by_heart_seen if learns_by_heart(plan) else config.validation_seen
        assert plan.entry.settings.validation_seen == told
    none = [plan_stack(TrainConfig(by_heart=False), *pair) for pair in pairs]
    assert not any(learns_by_heart(plan) for plan in none)


def test_trainings_are_short_and_long_and_have_the_data_for_it() -> None:
    pairs = [(index, turn) for index in range(10) for turn in range(8)]
    plans = [plan_stack(TrainConfig(rehearsal=False), *pair) for pair in pairs]
    longest = dict.fromkeys(("vector", "image", "tokens"), 0)
    for plan in plans:
        _, steps = plan.entry.settings.total_steps
        longest[plan.spec.inputs] = max(longest[plan.spec.inputs], steps)
        if not plan.fine_tunes:
            low, high = (BY_HEART if learns_by_heart(plan) else FEW_PASSES).samples
            assert low <= plan.spec.train_size <= high
    assert longest["vector"] > 900
    assert max(longest["image"], longest["tokens"]) <= 600


def test_convolutions_have_a_third_of_the_layers_and_whole_groups_of_twins() -> None:
    config = TrainConfig(slots=90)
    for index in range(10):
        plan = plan_stack(config, index)
        asked = 30 if plan.spec.inputs == "image" else 90
        with IsolatedTorchRandomness(0, "layers").use():
            layers = len(group_layers(build_network(plan.spec)))
        assert plan.entry.lanes % config.twins == 0
        assert plan.entry.lanes == config.twins or (
            abs(plan.entry.lanes * layers - asked) <= config.twins * layers / 2
        )


def test_who_rehearses_passes_as_often_over_clean_data() -> None:
    pairs = [(index, turn) for index in range(10) for turn in range(20)]
    rehearsing = [pair for pair in pairs if (pair[0] + 3 * pair[1]) % 10 in REHEARSAL_TURNS]
    passes: dict[bool, list[float]] = {False: [], True: []}
    longest: dict[bool, int] = {False: 0, True: 0}
    for pair in pairs:
        plan = plan_stack(TrainConfig(), *pair)
        if pair not in rehearsing or plan.fine_tunes:
            assert plan.spec == plan_stack(TrainConfig(rehearsal=False), *pair).spec
            continue
        assert plan.spec.label_noise == 0.0
        assert not learns_by_heart(plan)
        assert SEPARABLE.data is not None
        plenty = plan.spec.data != SEPARABLE.data[plan.spec.inputs]
        low, high = (PLENTY if plenty else SEPARABLE).samples
        assert low <= plan.spec.train_size <= high
        _, steps = plan.entry.settings.total_steps
        longest[plenty] = max(longest[plenty], steps)
        passes[plenty].append(steps * plan.spec.batch_size / plan.spec.train_size)
    assert 20 <= len(passes[False]) <= 35
    assert 20 <= len(passes[True]) <= 35
    assert np.median(passes[False]) > 10.0
    assert np.median(passes[True]) > 5.0
    assert longest[False] <= 960 < 2000 < longest[True]
