"""A stack goes on exactly from its state."""

import io
from functools import partial

import torch

from lr_env.stack import Stack, StackSettings
from tests.toys import ToyTask


def _stack() -> Stack:
    settings = StackSettings(
        total_steps=(30, 80), base_lr=(1e-4, 1e-1), schedules=("constant", "cosine"),
        validation_seen=0.5,
    )  # fmt: skip
    return Stack(partial(ToyTask, architecture="batchnorm"), 6, settings)


def test_state_goes_through_a_file_and_on_identically() -> None:
    first, generator = _stack(), torch.Generator().manual_seed(0)
    first.reset(5)
    actions = 2 * torch.rand(30, 6, len(first.layers), generator=generator) - 1
    for action in actions[:15]:
        first.step(action)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = _stack()
    second.load_state_dict(torch.load(buffer, weights_only=True))
    ended = 0
    for action in actions[15:]:
        ours, theirs = first.step(action), second.step(action)
        assert torch.equal(ours.observation, theirs.observation)
        assert torch.equal(ours.reward, theirs.reward)
        ended += int(ours.terminated.sum())
    assert ended > 0


def test_the_same_seed_gives_the_same_trainings_and_global_generators_rest() -> None:
    before = torch.get_rng_state()
    runs = []
    for _ in range(2):
        stack = _stack()
        stack.reset(3)
        runs.append([stack.step(torch.zeros(6, len(stack.layers))).observation for _ in range(12)])
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
