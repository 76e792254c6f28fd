"""The vector environment: its lanes are single environments, its interface is Gymnasium's."""

import pickle
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from lr_env.env import LayerwiseLREnv
from lr_env.errors import InvalidArgumentError, LrEnvError, ModelError, UnknownNameError
from lr_env.observation import FEATURES
from lr_env.registration import ENV_IDS
from lr_env.schedules import cosine
from lr_env.tasks import TensorTask
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.test_env_arguments import assert_one_sentence
from tests.toys import ToyTask, build_toy_model

LANES, SEED = 3, 7
BATCHNORM = partial(ToyTask, architecture="batchnorm")
DROPOUT = partial(ToyTask, architecture="dropout")
SHORT: dict[str, Any] = {"task": "toy", "num_decisions": 5, "steps_per_action": 2}


def gap_to_singles(decisions: int, **arguments: Any) -> tuple[float, int]:
    """Return the largest gap of observations, rewards and infos, and how many trainings ended.

    Gaps of infos above 1 are relative: losses of diverging trainings are large.
    """
    envs = LayerwiseLRVectorEnv(LANES, **arguments)
    singles = [LayerwiseLREnv(**arguments) for _ in range(LANES)]
    seeds = [SEED + lane for lane in range(LANES)]
    begun = [env.reset(seed=seed) for env, seed in zip(singles, seeds, strict=True)]
    gaps, ended = [], 0

    def compare(seen: Any, infos: dict[str, Any], lane: int, own: tuple[Any, Any]) -> None:
        gaps.append(np.abs(seen - own[0]).max())
        assert [name for name in infos if not name.startswith(("_", "final"))] == list(own[1])
        for name, value in own[1].items():
            assert infos[f"_{name}"][lane]
            gaps.append(np.max(np.abs(infos[name][lane] * 1.0 - value) / np.maximum(1.0, value)))

    observations, infos = envs.reset(seed=SEED)
    for lane, own in enumerate(begun):
        compare(observations[lane], infos, lane, own)
    random = np.random.default_rng(0)
    for _ in range(decisions):
        action = (
            random.integers(1, 4, envs.action_space.shape)
            if arguments.get("discrete")
            else random.uniform(-0.3, 0.3, envs.action_space.shape)
        )
        observations, rewards, terminations, truncations, infos = envs.step(action)
        assert not truncations.any()
        for lane, (env, row) in enumerate(zip(singles, action, strict=True)):
            observation, reward, terminated, _, info = env.step(row)
            assert terminations[lane] == terminated
            gaps.append(abs(rewards[lane] - reward))
            if terminated:
                ended += 1
                assert infos["_final_obs"][lane]
                assert infos["_final_info"][lane]
                compare(infos["final_obs"][lane], infos["final_info"], lane, (observation, info))
                observation, info = env.reset()
            compare(observations[lane], infos, lane, (observation, info))
    return float(max(gaps)), ended


SAME: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "Adam", "base_schedule": "linear", "z_init": "cautious"},
    "adamw": {"optimizer": "adamw", "optimizer_arguments": {"weight_decay": 0.1}},
    "sgd": {"optimizer": "sgd", "base_schedule": cosine, "reward_kind": "progress"},
    "rmsprop": {"optimizer": "rmsprop", "action_mode": "residual", "z_max": 3.0, "gamma": 0.9},
    "batchnorm": {"task": BATCHNORM, "observe_validation": True, "validation_samples": 20},
    "discrete": {"discrete": True, "max_step": 1.0, "batch_size": 10},
    "warm restarts": {"base_schedule": lambda step, total: 2.0 - step % 3},
    "same data": {"task": ToyTask(3), "steps_per_action": 1},
}


@pytest.mark.parametrize("arguments", SAME.values(), ids=SAME)
def test_lanes_equal_single_environments_in_float64(arguments: dict[str, Any]) -> None:
    gap, ended = gap_to_singles(50, **{
        "task": "toy", "base_lr": (1e-4, 1e-2), "num_decisions": 20, "steps_per_action": 2,
        "dtype": torch.float64, **arguments,
    })  # fmt: skip
    assert gap <= 1e-6
    assert ended == 2 * LANES


def test_lanes_equal_single_environments_in_float32() -> None:
    gap, _ = gap_to_singles(10, task=BATCHNORM)
    assert gap <= 1e-3


def test_lanes_that_diverge_end_as_single_environments_do() -> None:
    gap, ended = gap_to_singles(
        8, task="toy", optimizer="sgd", base_lr=(1.0, 1e30), base_schedule="cosine",
        dtype=torch.float64, total_steps=40,
    )  # fmt: skip
    assert gap <= 1e-6
    assert ended > LANES


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("mode", [None, "vector_entry_point", "sync"])
def test_make_vec_by_id(env_id: str, mode: str | None) -> None:
    envs = gymnasium.make_vec(env_id, num_envs=2, vectorization_mode=mode, **SHORT)
    assert isinstance(envs, LayerwiseLRVectorEnv) == (mode != "sync")
    observations, _ = envs.reset(seed=1)
    assert observations.shape == (2, 2, len(FEATURES))
    assert observations in envs.observation_space
    single = gymnasium.make(env_id, **SHORT)
    assert envs.single_observation_space == single.observation_space
    assert envs.single_action_space == single.action_space
    observations, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
    assert observations in envs.observation_space
    assert (rewards.dtype, rewards.shape) == (np.float64, (2,))
    assert terminations.dtype == truncations.dtype == np.bool_
    assert infos["learning_rates"].shape == (2, 2)
    assert infos["step"].dtype == np.int64
    envs.close()


def test_infos_have_the_types_of_gymnasiums_own_vector_environment() -> None:
    ours, theirs = (
        gymnasium.make_vec(
            "lr_env/LayerwiseLR-v0", num_envs=2, vectorization_mode=mode,
            vector_kwargs=own, **more, **SHORT,
        )
        for mode, own, more in (
            ("vector_entry_point", {}, {"autoreset_mode": "SameStep"}),
            ("sync", {"autoreset_mode": AutoresetMode.SAME_STEP}, {}),
        )
    )  # fmt: skip

    def types(infos: dict[str, Any]) -> dict[str, Any]:
        return {
            name: types(value) if isinstance(value, dict) else (value.dtype, value.shape)
            for name, value in infos.items()
        }

    assert types(ours.reset(seed=0)[1]) == types(theirs.reset(seed=0)[1])
    for _ in range(5):
        mine, sync = (envs.step(np.zeros((2, 2), np.float32)) for envs in (ours, theirs))
        assert types(mine[-1]) == types(sync[-1])
    assert mine[2].all()


# What a mode makes of the step at which lane 0 ends, and of the one after it.
MODES = {
    AutoresetMode.SAME_STEP: {"step at end": 0, "final": True, "after": (True, 1)},
    AutoresetMode.NEXT_STEP: {"step at end": 8, "final": False, "after": (False, 0)},
    AutoresetMode.DISABLED: {"step at end": 8, "final": False, "after": None},
}


@pytest.mark.parametrize(("mode", "expected"), MODES.items(), ids=lambda value: str(value)[:24])
def test_the_autoreset_table(mode: AutoresetMode, expected: dict[str, Any]) -> None:
    envs = LayerwiseLRVectorEnv(2, **SHORT, autoreset_mode=mode)
    assert envs.metadata["autoreset_mode"] is mode
    assert envs.metadata["render_modes"] == []
    idle = np.zeros(envs.action_space.shape, np.float32)
    envs.reset(seed=0)
    envs.step(idle)
    envs.reset(options={"reset_mask": np.array([False, True])})
    for _ in range(4):
        observations, rewards, terminations, _, infos = envs.step(idle)
    assert terminations.tolist() == [True, False]
    assert rewards[0] != 0
    assert infos["step"][0] == expected["step at end"]
    assert ("final_obs" in infos) == expected["final"]
    if expected["final"]:
        assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False]
        assert infos["final_obs"][1] is None
        assert infos["final_info"]["step"].tolist() == [8, 0]
        assert infos["final_info"]["_step"].tolist() == [True, False]
        assert not np.array_equal(infos["final_obs"][0], observations[0])
    if expected["after"] is None:
        with pytest.raises(gymnasium.error.ResetNeeded):
            envs.step(idle)
        envs.reset(options={"reset_mask": terminations})
        assert not envs.step(idle)[2][0]
        return
    moved, step = expected["after"]
    _, rewards, terminations, _, infos = envs.step(idle)
    assert infos["step"].tolist() == [step, 8 if mode is AutoresetMode.NEXT_STEP else 0]
    assert (rewards[0] != 0) == moved
    assert terminations.tolist() == [False, True]


def test_next_step_begins_while_the_other_lanes_train_on() -> None:
    modes = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)
    same, following = (LayerwiseLRVectorEnv(2, **SHORT, autoreset_mode=mode) for mode in modes)
    idle = np.zeros(same.action_space.shape, np.float32)
    for envs in (same, following):
        envs.reset(seed=0)
        for _ in range(5):
            observations, _, terminations, _, infos = envs.step(idle)
        assert terminations.all()
        if envs is same:
            fresh, last = observations, infos["final_obs"]
    np.testing.assert_array_equal(observations, np.stack(last))
    observations, rewards, terminations, _, infos = following.step(idle + 0.5)
    np.testing.assert_array_equal(observations, fresh)
    assert not terminations.any()
    assert (rewards == 0).all()
    assert (infos["step"] == 0).all()


@pytest.mark.parametrize("task", [BATCHNORM, DROPOUT], ids=["batchnorm", "dropout"])
def test_a_masked_reset_leaves_the_other_lanes_bit_identical(task: Any) -> None:
    envs = LayerwiseLRVectorEnv(4, task, optimizer="adamw", observe_validation=True)
    envs.reset(seed=0)
    for _ in range(6):
        before, *_ = envs.step(np.full(envs.action_space.shape, 0.2, np.float32))
    mask = np.array([False, True, False, True])
    kept = _lanes_of(envs._stack.state_dict(), 4)
    observations, infos = envs.reset(seed=50, options={"reset_mask": mask})
    now = _lanes_of(envs._stack.state_dict(), 4)
    np.testing.assert_array_equal(observations[~mask], before[~mask])
    assert len(kept) > 25
    for name, value in kept.items():
        torch.testing.assert_close(now[name][~mask], value[~mask], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(now["tensors.flat"][1], kept["tensors.flat"][1])
    assert infos["_step"].tolist() == mask.tolist()
    other = LayerwiseLREnv(BATCHNORM, optimizer="adamw", observe_validation=True)
    if task is BATCHNORM:
        np.testing.assert_allclose(observations[3], other.reset(seed=53)[0], atol=1e-4)


def _lanes_of(state: dict[str, Any], lanes: int, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of a stack's state whose first dimension is that of the lanes."""
    found: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            found |= _lanes_of(value, lanes, f"{prefix}{name}.")
        elif isinstance(value, torch.Tensor) and value.ndim and len(value) == lanes:
            found[prefix + name] = value
    return found


def test_every_lane_can_have_its_own_seed() -> None:
    envs = LayerwiseLRVectorEnv(3, "toy", base_lr=(1e-5, 1e-1))
    first, infos = envs.reset(seed=[4, 9, 4])
    np.testing.assert_array_equal(first[0], first[2])
    assert infos["base_lr"][0] == infos["base_lr"][2] != infos["base_lr"][1]
    second, _ = envs.reset(seed=[None, 4, None])
    np.testing.assert_allclose(second[1], first[0], atol=1e-5)
    assert not np.array_equal(second[0], first[0])
    np.testing.assert_array_equal(second[0], second[2])


@pytest.mark.filterwarnings("ignore:This stack cannot be compiled")
def test_a_compiled_environment_pickles_too() -> None:
    # Dropout is what cannot be compiled: the rest of the way is the same, and quick.
    envs = LayerwiseLRVectorEnv(2, DROPOUT, num_decisions=8, compile=True)
    envs.reset(seed=3)
    action = np.full((2, 2), 0.3, np.float32)
    envs.step(action)
    copy = pickle.loads(pickle.dumps(envs))  # noqa: S301
    np.testing.assert_array_equal(copy.step(action)[0], envs.step(action)[0])


@pytest.mark.parametrize("task", [ToyTask, DROPOUT], ids=["mlp", "dropout"])
def test_equal_seeds_give_equal_runs_and_pickles_go_on(task: Any) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    action = np.full((2, 2), 0.3, np.float32)

    def run(envs: Any, steps: int) -> list[Any]:
        return [envs.step(action)[:2] for _ in range(steps)]

    def build() -> LayerwiseLRVectorEnv:
        envs = LayerwiseLRVectorEnv(2, task, num_decisions=8)
        envs.reset(seed=3)
        return envs

    first = build()
    begun = run(first, 5)
    copy = pickle.loads(pickle.dumps(first))  # noqa: S301
    after = run(first, 6)
    first.reset(seed=3)
    for other in (run(build(), 11), run(first, 11), begun + run(copy, 6)):
        for (obs, reward), (own_obs, own_reward) in zip(other, begun + after, strict=True):
            np.testing.assert_array_equal(obs, own_obs)
            np.testing.assert_array_equal(reward, own_reward)
    assert torch.equal(torch_before, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_what_was_returned_is_the_callers() -> None:
    envs = LayerwiseLRVectorEnv(2, "toy")
    observations, infos = envs.reset(seed=0)
    kept = observations.copy()
    for array in (observations, *infos.values()):
        array[:] = 0
    masked, infos = envs.reset(seed=5, options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(masked[1], kept[1])
    again, fresh = envs.reset(options={"reset_mask": np.array([True, False])})
    assert fresh["base_lr"][0] == pytest.approx(1e-3)
    np.testing.assert_array_equal(again[1], kept[1])


def test_episode_statistics_are_recorded() -> None:
    envs = RecordEpisodeStatistics(LayerwiseLRVectorEnv(2, **SHORT))
    envs.reset(seed=0)
    rewards = []
    for _ in range(5):
        _, reward, _, _, infos = envs.step(np.zeros((2, 2), np.float32))
        rewards.append(reward)
    np.testing.assert_allclose(infos["episode"]["r"], np.sum(rewards, 0))
    assert infos["episode"]["l"].tolist() == [5, 5]
    mask = {"reset_mask": np.array([True, False])}
    envs.step(np.zeros((2, 2), np.float32))
    envs.reset(options=mask)
    assert envs.episode_lengths.tolist() == [0, 1]


class OwnLoss(ToyTask):
    name = "own"

    def loss(self, model, batch):
        return super().loss(model, batch) * 2


class Frozen(ToyTask):
    def build_model(self):
        model = build_toy_model()
        model[0].requires_grad_(False)
        return model


MISTAKES = [
    ({"num_envs": 0}, InvalidArgumentError, "at least 1"),
    ({"task": "tyo"}, UnknownNameError, "did you mean 'toy'"),
    ({"task": OwnLoss}, InvalidArgumentError, "cannot be stacked"),
    ({"task": Frozen}, ModelError, "frozen"),
    ({"optimizer": "adagrad"}, UnknownNameError, "stacked optimizer"),
    ({"optimizer": torch.optim.Adam}, InvalidArgumentError, "by name"),
    ({"optimizer_arguments": {"amsgrad": True}}, InvalidArgumentError, "amsgrad"),
    ({"batch_size": 0}, InvalidArgumentError, "batch_size"),
    ({"dtype": torch.int64}, InvalidArgumentError, "dtype"),
    ({"gamma": 2.0}, InvalidArgumentError, "gamma"),
    ({"render_mode": "ansi"}, InvalidArgumentError, "draws nothing"),
    ({"autoreset_mode": "SameSte"}, UnknownNameError, "did you mean 'SameStep'"),
]


@pytest.mark.parametrize(("arguments", "kind", "says"), MISTAKES)
def test_unusable_arguments(arguments: dict[str, Any], kind: type[LrEnvError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        LayerwiseLRVectorEnv(**{"task": "toy", **arguments})
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("action", [
    np.zeros(4), np.zeros((2, 3)), np.full((2, 2), np.nan), "left",
])  # fmt: skip
def test_unusable_actions(action: Any) -> None:
    envs = LayerwiseLRVectorEnv(2, "toy")
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((2, 2)))
    envs.reset(seed=0)
    with pytest.raises(InvalidArgumentError) as caught:
        envs.step(action)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(("arguments", "says"), [
    ({"seed": -1}, "seed"), ({"seed": [1]}, "seed"), ({"seed": [1, -2]}, "seed"),
    ({"options": {"reset_mask": [True, False]}}, "reset_mask"),
    ({"options": {"reset_mask": np.zeros(2, bool)}}, "reset_mask"),
    ({"options": {"reset_mask": np.ones(3, bool)}}, "reset_mask"),
])  # fmt: skip
def test_unusable_resets(arguments: dict[str, Any], says: str) -> None:
    envs = LayerwiseLRVectorEnv(2, "toy")
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        envs.reset(**arguments)
    assert_one_sentence(caught.value)


class Narrowing(ToyTask):
    def build_model(self):
        width = 4 + self.seed % 2
        return torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Linear(width, 3))


def test_a_model_that_changes_with_the_seed_is_refused() -> None:
    envs = LayerwiseLRVectorEnv(8, Narrowing)
    with pytest.raises(ModelError, match="task_arguments") as caught:
        envs.reset(seed=0)
    assert_one_sentence(caught.value)


def test_validation_in_several_batches_is_that_of_single_environments() -> None:
    class Long(TensorTask):
        name = "long"
        batch_size = 16

        def __init__(self, seed: int = 0) -> None:
            toy = [ToyTask(seed + part) for part in range(10)]
            inputs, targets = (
                torch.cat([task.tensors("validation")[index] for task in toy]) for index in (0, 1)
            )
            super().__init__(
                {"train": (inputs, targets), "validation": (inputs, targets),
                 "test": (inputs, targets)}, seed,
            )  # fmt: skip

        def build_model(self) -> torch.nn.Module:
            return build_toy_model()

    gap, _ = gap_to_singles(3, task=Long, validation_samples=299, dtype=torch.float64)
    assert gap <= 1e-6
