"""Arms by name, their base rates, and what they do with the learning rate."""

from __future__ import annotations

import sys

import pytest
from torch import nn

from experiments.arms import METHODS, Arm, build_optimizer, build_scheduler, parse_arms, parse_seeds
from experiments.arms.lr_star import lr_star
from experiments.config import EvaluateConfig
from lr_env.errors import DataError, InvalidArgumentError, LrEnvError, ModelError, UnknownNameError


def learning_rates(arm: Arm, steps: int) -> list[float]:
    optimizer = build_optimizer(arm, nn.Linear(2, 2))
    scheduler = build_scheduler(arm, optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.after_step(1.0)
    return rates


@pytest.mark.parametrize("text", ["adam agent@1e-5", "adam,agent@1e-5", " adam ,  agent@0.00001 "])
def test_spaces_and_commas(text: str) -> None:
    assert [arm.name for arm in parse_arms(text)] == ["adam", "agent@1e-05"]


def test_an_arm_counts_once() -> None:
    assert [arm.name for arm in parse_arms("adam adam@0.001 adam")] == ["adam"]


@pytest.mark.parametrize("name", METHODS)
def test_names_round_trip(name: str) -> None:
    for text in (name,) if METHODS[name].lr is None else (name, f"{name}@0.0123456789"):
        (arm,) = parse_arms(text)
        assert parse_arms(arm.name) == [arm]
        assert f", base rate {arm.lr:g}" in arm.description


def test_what_decides_runs_is_what_it_was_before_later_fields_came() -> None:
    known = {
        "label", "schedule", "lr", "optimizer", "z_max", "z_init", "layer_decay", "tuned_as",
        "package", "recipe", "lr_star",
    }  # fmt: skip
    later = {name: set(METHODS[name].to_dict()) - known for name in METHODS}
    assert {name: extra for name, extra in later.items() if extra} == {
        "start": {"acts"}, "agent-validation": {"sees_validation"},
        "layer-by-layer": {"pilot"}, "one-action": {"pilot"}, "one-rate": {"pilot"},
        "shuffled": {"pilot"}, "random": {"pilot"}, "half-start": {"pilot"},
    }  # fmt: skip
    assert METHODS["start"].to_dict()["acts"] is False
    assert METHODS["agent-validation"].to_dict()["sees_validation"] is True


def test_an_arm_may_have_seeds_of_its_own() -> None:
    seeds = parse_seeds("adam adam-wsd@0.01:3 adam-cosine@best:12 adam")
    assert {arm.name: count for arm, count in seeds.items()} == {
        "adam": None, "adam-wsd@0.01": 3, "adam-cosine@best": 12,
    }  # fmt: skip
    config = EvaluateConfig(seeds=5, arms=("adam:4", "agent"))
    assert config.seeds_by_arm == {"adam": 4, "agent": 5}
    with pytest.raises(InvalidArgumentError, match="seeds must be at least 3, not 2"):
        EvaluateConfig(arms=("adam", "agent:2"))
    with pytest.raises(InvalidArgumentError, match="adam is there twice"):
        parse_arms("adam adam:3")
    with pytest.raises(InvalidArgumentError, match="what follows : is a number of seeds"):
        parse_arms("adam:many")
    with pytest.raises(UnknownNameError, match="did you mean 'adam'"):
        parse_arms("adan:3")


def test_unknown_arm_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'adam-cosine'"):
        parse_arms("adam-cosin")


@pytest.mark.parametrize("text", ["adam@0", "adam@-1", "adam@nan", "adam@inf", "adam@1e9", "adam@"])
def test_unusable_rates(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="learning rate above 0 and up to 1000"):
        parse_arms(text)


@pytest.mark.parametrize("text", ["", " , "])
def test_no_arms(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="No arms given"):
        parse_arms(text)


def test_tuned_arms_have_no_rate_of_their_own() -> None:
    tuned, narrow = parse_arms("adam-cosine@best agent-narrow@best")
    assert (tuned.name, tuned.label) == ("adam-cosine@best", "Adam, cosine, tuned")
    found = tuned.at(0.003)
    assert found.name == tuned.name
    assert found.settled == parse_arms("adam-cosine@0.003")[0]
    assert "base rate 0.003 (the best of a grid on validation data)" in found.description
    assert "with the trials of adam-cosine)" in narrow.at(0.003).description


@pytest.mark.parametrize("name", ["agent", "prodigy"])
def test_what_is_never_tuned(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="no grid to be tuned on"):
        parse_arms(f"{name}@best")


def test_lr_star_has_one_rate() -> None:
    arm, finetuning = parse_arms("lr-star lr-star-finetuning")
    assert arm.lr == lr_star().lr
    assert finetuning.lr == lr_star("finetuning").lr < arm.lr
    assert lr_star().provenance in arm.description
    with pytest.raises(InvalidArgumentError, match=r"leave out @0\.1"):
        parse_arms("lr-star@0.1")


def test_lr_star_of_trainings_that_were_not_measured() -> None:
    with pytest.raises(DataError, match="no rate of adam for 'golf' trainings"):
        lr_star("golf")


def test_schedules_of_the_baselines() -> None:
    adam, cosine, linear = (
        learning_rates(arm, 20) for arm in parse_arms("adam@0.01 adam-cosine@0.01 adam-linear@0.01")
    )
    assert adam == [0.01] * 20
    assert cosine[0] == 0.01
    assert cosine[10] == pytest.approx(0.005)
    assert cosine == sorted(cosine, reverse=True)
    assert linear[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert linear[-1] == pytest.approx(0.01 / 18)


def test_one_cycle_peaks_at_its_rate_and_warm_up_stable_decay_stays_there() -> None:
    cycle, stable = (learning_rates(arm, 20) for arm in parse_arms("adam-onecycle adam-wsd"))
    assert max(cycle) == pytest.approx(1e-3)
    assert 0 < cycle.index(max(cycle)) < 10
    assert cycle[-1] < 1e-6
    assert stable[2:16] == [1e-3] * 14
    assert stable[-1] == pytest.approx(1e-3 / 4)


def test_greedy_raises_the_rate_while_the_loss_falls() -> None:
    (arm,) = parse_arms("adam-greedy")
    optimizer = build_optimizer(arm, nn.Linear(2, 2))
    scheduler = build_scheduler(arm, optimizer, 100)
    assert scheduler is not None
    for step in range(30):
        scheduler.after_step(1.0 - step / 30)
    raised = optimizer.param_groups[0]["lr"]
    assert raised > 1e-3
    for _ in range(100):
        scheduler.after_step(5.0)
    assert optimizer.param_groups[0]["lr"] < raised


def test_a_plateau_is_seen_at_readings() -> None:
    (arm,) = parse_arms("adam-plateau")
    optimizer = build_optimizer(arm, nn.Linear(2, 2))
    scheduler = build_scheduler(arm, optimizer, 100)
    assert scheduler is not None
    for _ in range(4):
        scheduler.after_reading(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_a_library_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(LrEnvError, match="Arm prodigy needs the package 'prodigyopt'"):
        build_optimizer(parse_arms("prodigy")[0], nn.Linear(2, 2))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(2, 2)


class Encoder(nn.Module):
    """Named like BERT: embeddings, three numbered layers, a pooler and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(3, 2)})
        self.layer = nn.ModuleList(
            nn.ModuleDict({"attention": SelfAttention(), "output": nn.Linear(2, 2)})
            for _ in range(3)
        )
        self.pooler = nn.Linear(2, 2)
        self.classifier = nn.Linear(2, 2)


def test_layers_of_a_transformer_decay_downwards() -> None:
    model = Encoder()
    (arm,) = parse_arms("adam-layerwise@0.01")
    optimizer = build_optimizer(arm, model)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    own = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert len(own) == len(rates)
    assert own["classifier.weight"] == own["pooler.bias"] == 0.01
    for layer in range(3):
        for part in ("output.weight", "attention.query.bias"):
            assert own[f"layer.{layer}.{part}"] == pytest.approx(0.01 * 0.9 ** (3 - layer))
    assert own["embeddings.word_embeddings.weight"] == pytest.approx(0.01 * 0.9**4)


def test_layer_wise_decay_is_for_transformers() -> None:
    with pytest.raises(ModelError, match="leave arm adam-layerwise out"):
        build_optimizer(parse_arms("adam-layerwise")[0], nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 2}, "seeds must be at least 3, not 2"),
        ({"epochs": 0}, "epochs must be above zero"),
        ({"batch_size": -4}, "batch_size must be above zero"),
        ({"workers": 0}, "workers must be above zero"),
    ],
)
def test_numbers_out_of_range(change: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        EvaluateConfig(**change)  # type: ignore[arg-type]


def test_arms_may_come_as_separate_words() -> None:
    config = EvaluateConfig(arms=("adam", "agent,adam-cosine"))
    assert [arm.name for arm in config.parsed_arms] == ["adam", "agent", "adam-cosine"]
