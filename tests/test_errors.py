"""Typed errors: one family, one sentence, the nearest name."""

import pickle

from lr_env.errors import LrEnvError, UnknownNameError


def test_the_nearest_name_is_offered_or_all_are_listed() -> None:
    assert str(UnknownNameError("task", "imbd", ["imdb", "wine"])) == (
        "Unknown task 'imbd': did you mean 'imdb'?"
    )
    assert str(UnknownNameError("task", "xyz", ["wine", "imdb"])) == (
        "Unknown task 'xyz': known: imdb, wine."
    )
    assert "known: none." in str(UnknownNameError("policy", "x", []))


def test_errors_are_caught_as_the_family_and_as_the_builtin_kind() -> None:
    error = UnknownNameError("task", "x", [])
    assert isinstance(error, LrEnvError)
    assert isinstance(error, ValueError)


def test_errors_cross_process_borders() -> None:
    error = UnknownNameError("task", "imbd", ["imdb"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301
