"""The meta-test's suite: outside the family, its parts disjoint, its page true."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from agents.curriculum import DECISIONS
from lr_env.errors import UnknownNameError
from lr_env.meta_test import RATES, SUITE_VERSION, MetaTestTask, part_a, part_b
from lr_env.meta_test.models import HalvingMaximum, build_network
from lr_env.meta_test.spec import MetaTestSpec
from lr_env.meta_test.suite import PART_A, PART_B, MetaTestEntry
from lr_env.observation import FEATURES
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.scoring import score_schedule
from lr_env.stack import Stack
from lr_env.tasks.family import family_specs
from lr_env.tasks.family.data import GENERATORS
from lr_env.tasks.family.models import UnfoldedConv2d
from tests.toys import make_policy

PAGE = (Path(__file__).parent.parent / "docs" / "meta-test.md").read_text(encoding="utf-8")
EVERY = [*PART_A, *PART_B]
FROM_SCRATCH = [entry for entry in EVERY if not entry.spec.pretrained]


def rows(heading: str) -> dict[str, list[str]]:
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    cells = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row] for row in cells}


@pytest.mark.parametrize(("heading", "part"), [("Part A", PART_A), ("Part B", PART_B)])
def test_the_page_has_every_entry_with_its_sizes_and_steps(
    heading: str, part: tuple[MetaTestEntry, ...]
) -> None:
    found = rows(heading)
    assert list(found) == [entry.name for entry in part]
    for entry in part:
        row = found[entry.name]
        spec = entry.spec
        assert f"{spec.train_size:,} / {spec.validation_size:,}" in " ".join(row)
        assert row[-1] == f"{entry.total_steps:,}, {entry.steps_per_action}"
        assert row[-2].split(",")[0].lower() == entry.optimizer
        assert row[-2].split(", ")[-1] == str(spec.batch_size)
    assert f"version {SUITE_VERSION}" in PAGE


def test_the_grid_is_half_decades_from_a_hundred_thousandth_to_a_tenth() -> None:
    steps = torch.tensor(RATES).log10().diff()
    assert (RATES[0], RATES[-1], len(RATES)) == (1e-5, 1e-1, 9)
    assert ((steps - 0.5).abs() < 0.03).all()


def test_no_entry_is_in_the_family() -> None:
    """By data that it has not, or by sizes, batches, horizons or an optimizer outside its range."""
    family = family_specs(3, 200)
    batches = {spec.batch_size for spec in family}
    optimizers = {spec.optimizer for spec in family}
    assert not {entry.spec.data for entry in EVERY} & set(GENERATORS)
    named = {entry.name: entry for entry in PART_B}
    assert named["wide-mlp"].spec.width > max(spec.width for spec in family)
    assert named["deep-mlp"].spec.depth > max(spec.depth for spec in family)
    assert named["small-batch"].spec.batch_size < min(batches)
    assert named["large-batch"].spec.batch_size > max(batches)
    assert named["adamax"].optimizer not in optimizers
    fewest, most = DECISIONS
    assert named["long"].total_steps / named["long"].steps_per_action > 5 * most
    # As docs/meta-test.md says since the family's trainings became shorter: by its data alone.
    assert named["short"].total_steps / named["short"].steps_per_action >= fewest


def test_the_parts_share_no_spec_no_seed_and_no_pretrained_network() -> None:
    kinds = [
        {(entry.spec.data, entry.spec.network, entry.spec.depth) for entry in part}
        for part in (PART_A, PART_B)
    ]
    assert not kinds[0] & kinds[1]
    pools = [{entry.spec.pool for entry in part if entry.spec.pretrained}
             for part in (PART_A, PART_B)]  # fmt: skip
    assert not pools[0] & pools[1]


def test_tuning_is_on_other_seeds_and_seeds_of_fewer_are_a_part_of_those_of_more() -> None:
    entry = PART_B[0]
    report, tuning = entry.seeds(range(10)), entry.seeds(range(5), "tuning")
    assert len({*report, *tuning}) == 15
    assert entry.seeds(range(3)) == report[:3]
    assert entry.seeds(range(3, 10)) == report[3:]
    assert PART_B[1].seeds(range(10)) != report


@pytest.mark.parametrize("entry", FROM_SCRATCH, ids=lambda entry: f"{entry.name}-{entry.spec.data}")
def test_instances_are_those_of_their_seed_and_fit_their_network(entry: MetaTestEntry) -> None:
    first, again, other = (entry.task(seed) for seed in (1, 1, 2))
    for split, size in (
        ("train", entry.spec.train_size),
        ("validation", entry.spec.validation_size),
    ):
        inputs, labels = first.tensors(split)
        assert len(labels) == size
        assert torch.equal(inputs, again.tensors(split)[0])
        assert not torch.equal(labels, other.tensors(split)[1])
        assert set(labels.tolist()) <= set(range(entry.spec.classes))
    model = first.build_model()
    assert model(first.tensors("train")[0][:5]).shape == (5, entry.spec.classes)


def test_what_was_pretrained_is_worth_having_and_marked() -> None:
    spec = MetaTestSpec("scenes", "mlp", 1, 32, 36, 3, 96, 400, pretrained=True, pool=900)
    task = MetaTestTask(spec, 0)
    assert task.is_pretrained("0.0.weight")
    assert not task.is_pretrained("1.weight")

    def probe(body: torch.nn.Module) -> float:
        """Accuracy on the validation split of a linear map fitted to the body's outputs."""
        with torch.no_grad():
            parts = [(body(x), y) for x, y in map(task.tensors, ("train", "validation"))]
        (x, y), (new_x, new_y) = parts
        one_hot = torch.nn.functional.one_hot(y, spec.classes).float()
        gram = x.T @ x + 10.0 * torch.eye(x.shape[1])
        weights = torch.linalg.solve(gram, x.T @ one_hot)
        return float(((new_x @ weights).argmax(1) == new_y).float().mean())

    pretrained = probe(task.build_model()[0])
    with IsolatedTorchRandomness(0).use():
        fresh = probe(build_network(spec)[0])
    assert pretrained > fresh + 0.15


def test_convolution_and_pooling_by_views_are_torchs() -> None:
    conv = UnfoldedConv2d(2, 3, 3, 1, 1)
    images = torch.randn(4, 2, 8, 8)
    expected = torch.nn.Conv2d.forward(conv, images)
    assert torch.allclose(conv(images), expected, atol=1e-5)
    assert torch.equal(HalvingMaximum()(images), torch.nn.functional.max_pool2d(images, 2))


def test_part_a_scores_policies_as_meta_training_does() -> None:
    entries = [entry for entry in part_a() if entry.name == "a-wide-mlp"]
    (potentials,) = score_schedule(make_policy(), entries, 5)
    low, high = potentials[0], potentials[2]
    assert len(potentials) == entries[0].lanes == 12
    assert low == pytest.approx(0.0, abs=0.05)  # nothing is learned from a rate of 1e-5
    assert high != low


def test_part_a_is_the_same_trainings_with_a_validation_loss_and_without() -> None:
    def first(shown: bool) -> Tensor:
        (entry,) = (own for own in part_a(shown) if own.name == "a-noisy-labels")
        stack = Stack(entry.task, entry.lanes, replace(entry.settings, total_steps=20))
        stack.reset(3)
        return stack.step(torch.zeros(entry.lanes, len(stack.layers))).observation[:, 0]

    hidden, seen = first(False), first(True)
    about = torch.tensor([name.startswith("validation_") for name in FEATURES])
    assert torch.equal(hidden[:, ~about], seen[:, ~about])
    assert not hidden[:, about].any()
    assert seen[:, FEATURES.index("validation_seen")].eq(1.0).all()


def test_unknown_entries_are_one_sentence() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'topics'"):
        part_b(("topcis",))
    assert re.fullmatch(r"[a-z-]+", part_b(("topics",))[0].name)
