"""What `render` shows."""

import gymnasium
import numpy as np
import pytest

from lr_env.env import LayerwiseLREnv


def played(render_mode: str | None, decisions: int = 6, **arguments) -> LayerwiseLREnv:
    env = LayerwiseLREnv("toy", num_decisions=8, render_mode=render_mode, **arguments)
    env.reset(seed=0)
    for _ in range(decisions):
        env.step(np.array([0.5, -0.5], np.float32))
    return env


def test_the_picture_shows_the_training_and_grows_with_it() -> None:
    env = played("rgb_array", 2)
    early = env.render()
    assert early.shape == (540, 800, 3)
    assert early.dtype == np.uint8
    assert np.array_equal(env.render(), early)
    env.step(np.array([1.0, -1.0], np.float32))
    assert not np.array_equal(env.render(), early)
    assert len(np.unique(early.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("render_mode", ["rgb_array", "ansi"])
@pytest.mark.parametrize("decisions", [0, 1, 8])
def test_every_moment_of_an_episode_can_be_shown(render_mode: str, decisions: int) -> None:
    assert played(render_mode, decisions).render() is not None


def test_a_schedule_at_zero_and_a_diverged_training_can_be_shown() -> None:
    assert played("rgb_array", 8, base_schedule="cosine").render() is not None
    env = LayerwiseLREnv("toy", optimizer="sgd", base_lr=1e9, render_mode="rgb_array")
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(np.ones(2, np.float32))
    assert info["diverged"]
    assert env.render() is not None


def test_the_text_names_every_layer_and_its_rate() -> None:
    env = played("ansi", 3, base_lr=0.001)
    text = env.render()
    head, first, last = text.splitlines()
    assert head.startswith(f"step 4/{env.total_steps}  training loss ")
    assert first.split() == ["0", "0.008"]
    assert last.split() == ["2", "0.000125"]


def test_no_render_mode_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="render_mode"):
        assert played(None).render() is None


def test_pictures_can_be_collected_by_gymnasiums_wrapper() -> None:
    env = gymnasium.make(
        "lr_env/LayerwiseLR-v0", task="toy", num_decisions=3, render_mode="rgb_array"
    )
    env = gymnasium.wrappers.RenderCollection(env)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    assert len(env.render()) == 4
