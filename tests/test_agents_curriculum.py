"""The mix of stacks: what is drawn, and that it acts as the exported card will say."""

import pytest

from agents.config import TrainConfig
from agents.curriculum import SAMPLES, envelope, plan_stack


@pytest.mark.parametrize("start", ["calibrated", "cautious"])
def test_the_narrow_envelope_moves_as_the_card_of_the_wide_one_says(start: str) -> None:
    wide, narrow = (envelope(TrainConfig(start=start), narrow) for narrow in (False, True))
    assert wide.around(narrow.z_max, narrow.z_init) == narrow


def test_trainings_are_short_and_long_and_have_the_data_for_it() -> None:
    plans = [plan_stack(TrainConfig(), index, turn) for index in range(10) for turn in range(8)]
    longest = dict.fromkeys(("vector", "image", "tokens"), 0)
    for plan in plans:
        _, steps = plan.entry.settings.total_steps
        longest[plan.spec.inputs] = max(longest[plan.spec.inputs], steps)
        if not plan.fine_tunes:
            assert SAMPLES[0] <= plan.spec.train_size <= SAMPLES[1]
    assert longest["vector"] > 2000
    assert max(longest["image"], longest["tokens"]) <= 800
