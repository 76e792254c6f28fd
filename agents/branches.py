"""Branches: trainings of one instance whose layers are held some octaves from their starts.

What a rate is worth shows at the end of a training, and little of it in the noise that an agent
explores with. Trainings that differ in nothing but constant offsets of groups of layers, an octave
or two apart until they end, show it plainly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from scipy.linalg import hadamard
from torch import Tensor

from agents.config import TrainConfig
from agents.curriculum import StackPlan, plan_stack
from lr_env.layers import Layer, LayerKind
from lr_env.randomness import derive_seed, torch_generator
from lr_env.stack import Stack
from lr_env.tasks.family import FamilyTask

OCTAVES = (0.5, 0.8, 0.8, 0.8)
"""Offsets of the groups: every layer, the first one, the last one, normalisation layers."""
LARGEST_MOVE = 2.0 * sum(OCTAVES)
PARTING = 0.4
"""Share of the budget at which a training's offsets give way to others, drawn apart from them."""
MOMENTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the budget at which trainings without offsets are looked at."""
PAIRS = 4
"""Of trainings with opposite offsets, for each instance; and one more without any."""
VALIDATION_SIZE = 512
FLOOR = 0.1
"""Share of its first loss that is added to a loss before its logarithm is taken: halving a tenth of
it is worth something, halving a thousandth next to nothing."""
MOST_GAINED = 1.0
"""Nats that one training counts at most: a divergence is no hundred others."""
FINE_TUNING_EVERY = 4
OF_IMAGES = 1
"""Instances of a stack of images: convolutions take most of the time."""


@dataclass(frozen=True)
class Branches:
    """What trainings of one stack looked like, and what an octave of each layer was worth.

    Attributes:
        observation: of the trainings without offsets, at every moment `[M, I, L, F]`.
        worth: nats of final loss that an octave more of a layer gains, until the parting and from
            there on `[I, 2, L]`: noisy, but right on average.
        movable: 1 for layers that actions move, 0 for others `[L]`.
    """

    observation: Tensor
    worth: Tensor
    movable: Tensor


def plan_branches(config: TrainConfig) -> Iterator[StackPlan]:
    """Draw the stacks that are grown: kinds of the mix, but none that the agent meets later.

    Fine-tuning, whose networks have to be pretrained first, comes every `FINE_TUNING_EVERY` times.
    """
    other = replace(config, seed=derive_seed(config.seed, "branches") % 2**31)
    for number in range(config.resolved_branches):
        generation, index = divmod(number, config.stacks)
        plan = plan_stack(other, index, generation)
        if plan.fine_tunes and generation % FINE_TUNING_EVERY:
            continue
        instances = OF_IMAGES if plan.spec.inputs == "image" else config.branch_instances
        twins = 1 + 2 * PAIRS
        spec = replace(plan.spec, validation_size=VALIDATION_SIZE)
        entry = replace(plan.entry, task=partial(FamilyTask, spec), lanes=instances * twins)
        yield replace(plan, entry=entry, spec=spec, twins=twins)


def grow(plan: StackPlan) -> Branches:
    """Train all lanes of `plan` to their ends, each with its offsets."""
    settings = plan.entry.settings
    envelope = replace(
        settings.envelope, mode="incremental", max_step=LARGEST_MOVE, leak=0.0, reach=None,
        shared=False,
    )  # fmt: skip
    # An instance serves all its lanes: its data are not changed by training.
    stack = Stack(cache(plan.entry.task), plan.entry.lanes, replace(settings, envelope=envelope))
    active = torch.ones(stack.num, dtype=torch.bool)
    observation = stack.begin(active, plan.seeds)
    start, wanted = stack.scales, torch.zeros(stack.num, len(stack.layers))
    movable = torch.zeros(len(stack.layers), dtype=torch.bool)
    signs = draw_signs(plan.seed, stack.num // plan.twins)
    offsets = _offsets(signs, group_design(stack.layers))
    seen = _Snapshots(stack.num, plan.twins, observation)
    while active.any():
        progress = stack.steps / stack.total_steps
        seen.take(progress, observation)
        before, late = wanted, (progress >= PARTING).unsqueeze(1)
        wanted = torch.where(late, offsets[1], offsets[0])
        outcome = stack.advance((wanted - before) / LARGEST_MOVE, active)
        movable |= (stack.scales != start).any(0)
        observation, active = outcome.observation, active & ~outcome.terminated
    ends = _potentials(stack).view(-1, plan.twins)
    design = group_design(stack.layers) * movable
    return Branches(seen.kept, worth(ends, signs, design), movable.float())


def group_design(layers: Sequence[Layer]) -> Tensor:
    """Return which layers are of each group of `OCTAVES` `[4, L]`."""
    count = len(layers)
    first, last = torch.zeros(count), torch.zeros(count)
    first[0], last[-1] = 1.0, 1.0
    normalisation = [float(layer.kind is LayerKind.NORMALISATION) for layer in layers]
    return torch.stack([torch.ones(count), first, last, torch.tensor(normalisation)])


def draw_signs(seed: int, instances: int) -> Tensor:
    """Return the signs of every pair's offsets, of all groups before and after the parting.

    `[I, PAIRS, 8]`; over two instances the columns are orthogonal (a folded-over two-level design,
    Box and Wilson 1951): no group is taken for another, and nothing even for an effect.
    """
    generator = torch_generator(seed, "branches")
    columns = 2 * len(OCTAVES)
    square = torch.from_numpy(hadamard(columns)).float()
    drawn = []
    for _ in range(0, instances, columns // PAIRS):
        rows, order = (torch.randperm(columns, generator=generator) for _ in range(2))
        flips = 2.0 * torch.randint(0, 2, (columns,), generator=generator) - 1.0
        drawn.append(square[rows][:, order] * flips)
    return torch.cat(drawn).view(-1, PAIRS, columns)[:instances]


def worth(ends: Tensor, signs: Tensor, design: Tensor) -> Tensor:
    """Return what an octave more of a layer gains, before the parting and after it `[I, 2, L]`.

    From the final potentials `[I, 1 + 2 * PAIRS]` of the training without offsets, those with
    `signs` `[I, PAIRS, 8]` and those with the opposite ones. What a group gains is divided evenly
    between its layers, by `design` `[4, L]`.
    """
    alone = ends[:, :1]
    ends = ends.nan_to_num(nan=-torch.inf).maximum(alone - MOST_GAINED).minimum(alone + MOST_GAINED)
    half = (ends[:, 1 : 1 + PAIRS] - ends[:, 1 + PAIRS :]) / 2.0
    groups = (half.unsqueeze(-1) * signs).mean(1).view(-1, 2, len(OCTAVES))
    groups = groups / torch.tensor(OCTAVES)
    inverse: Tensor = torch.linalg.pinv(design)
    return groups @ inverse.T


def _offsets(signs: Tensor, design: Tensor) -> Tensor:
    """Return every lane's offsets until the parting and after it `[2, N, L]`, octaves."""
    both = torch.cat([torch.zeros_like(signs[:, :1]), signs, -signs], 1)
    octaves = both.view(-1, 2, len(OCTAVES)) * torch.tensor(OCTAVES)
    return (octaves @ design).transpose(0, 1)


def _potentials(stack: Stack) -> Tensor:
    initial = stack.initial_loss
    loss = stack.whole_validation_loss() + FLOOR * initial
    return -(loss / initial).log().float()


class _Snapshots:
    """Observations of the trainings without offsets, one lane of every `twins`, at `MOMENTS`."""

    def __init__(self, lanes: int, twins: int, like: Tensor) -> None:
        self._own = slice(None, None, twins)
        self.kept = torch.zeros(len(MOMENTS), lanes // twins, *like.shape[1:])
        self._taken = torch.zeros(len(MOMENTS), lanes // twins, dtype=torch.bool)

    def take(self, progress: Tensor, observation: Tensor) -> None:
        """Keep what is seen of those that have come to one of the moments."""
        for number, moment in enumerate(MOMENTS):
            now = (progress[self._own] >= moment) & ~self._taken[number]
            self.kept[number, now] = observation[self._own][now].float()
            self._taken[number] |= now
