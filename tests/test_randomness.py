"""Seeded streams: reproducible, distinct, and apart from the global generators."""

import itertools

import torch

from lr_env.randomness import (
    IsolatedTorchRandomness,
    derive_seed,
    numpy_generator,
    torch_generator,
)


def test_streams_are_reproducible_and_distinct() -> None:
    keys = [
        (),
        ("model",),
        ("batches",),
        (0,),
        (1,),
        ("model", 0),
        ("model", 1),
        ("a", "bc"),
        ("ab", "c"),
    ]
    seeds = [derive_seed(seed, *key) for seed, key in itertools.product((0, 1, 2**40), keys)]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [derive_seed(s, *k) for s, k in itertools.product((0, 1, 2**40), keys)]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_of_a_stream_draw_the_same() -> None:
    assert torch.equal(
        torch.rand(4, generator=torch_generator(3, "x")),
        torch.rand(4, generator=torch_generator(3, "x")),
    )
    assert numpy_generator(3, "x").random() == numpy_generator(3, "x").random()
    assert numpy_generator(3, "x").random() != numpy_generator(3, "y").random()


def test_isolated_code_draws_from_its_own_stream_and_goes_on_where_it_was() -> None:
    outside = torch.get_rng_state()
    isolated = IsolatedTorchRandomness(1, "dropout")
    with isolated.use():
        first = torch.rand(3)
    with isolated.use():
        second = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), outside)
    again = IsolatedTorchRandomness(1, "dropout")
    with again.use():
        assert torch.equal(torch.rand(6), torch.cat([first, second]))


def test_an_error_inside_gives_the_global_generator_back() -> None:
    outside = torch.get_rng_state()
    try:
        with IsolatedTorchRandomness(1).use():
            torch.rand(1)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), outside)
