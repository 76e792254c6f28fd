"""Large stacks work block by block, and make the trainings that they make at once."""

from functools import partial

import pytest
import torch

from lr_env.stack import Stack, StackSettings, blocks
from tests.toys import ToyTask

LANES = 7


def test_small_stacks_are_one_block_and_large_ones_as_few_as_fit() -> None:
    lane = 4 * 3466  # bytes of an MLP 64-32-32-10
    assert blocks.eager_blocks(256, lane) == [slice(0, 256)]
    assert blocks.eager_blocks(768, lane) == [slice(0, 256), slice(256, 512), slice(512, 768)]
    assert len(blocks.compiled_blocks(768, lane, 2)) > 3
    # Lanes of which not one would fit are not made one by one.
    assert blocks.eager_blocks(16, 1 << 30) == [slice(0, 8), slice(8, 16)]


@pytest.mark.parametrize("architecture", ["mlp", "batchnorm"])
def test_lanes_in_blocks_are_those_of_one_block(
    monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    task = partial(ToyTask, architecture=architecture)
    settings = StackSettings(
        base_lr=(1e-4, 1e-2), total_steps=(12, 40), steps_per_action=4, dtype=torch.float64
    )
    whole = Stack(task, LANES, settings)
    monkeypatch.setattr(blocks, "_EAGER_CACHE", 1)
    monkeypatch.setattr(blocks, "_FEWEST", 3)
    parts = Stack(task, LANES, settings)
    assert len(whole._trainings._runner.blocks) == 1
    assert [own.stop - own.start for own in parts._trainings._runner.blocks] == [2, 3, 2]
    assert torch.equal(whole.reset(3), parts.reset(3))
    generator, ended = torch.Generator().manual_seed(0), 0
    for turn in range(20):
        if turn == 6:
            # A block whose lanes are at different decisions, and one whose lanes all begin.
            mask = torch.tensor([True, True, True, False, False, False, False])
            torch.testing.assert_close(whole.begin(mask), parts.begin(mask), rtol=0, atol=1e-9)
        action = torch.rand(LANES, len(whole.layers), generator=generator) - 0.5
        one, other = whole.step(action), parts.step(action)
        assert torch.equal(one.terminated, other.terminated)
        for own, its in zip(vars(one).values(), vars(other).values(), strict=True):
            torch.testing.assert_close(own, its, rtol=0, atol=1e-9)
        ended += int(one.terminated.sum())
    assert ended > 0
