import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import combinations

import numpy as np
import pytest
import torch

from multirate.seeding import derive_seed, generator, preserved_rng, seed_globally, seeded

KEYS: list[tuple[int | str, ...]] = [
    (0,),
    (0, 0),
    (0, "noise"),
    (0, "noise", 0),
    (0, "noise", 0, 0),
    (0, "noise", 1),
    (1, "noise", 0),
    (0, "beta", 0),
    ("noise", 0),
    (2**32, "noise"),
    (2**62, "noise"),
]


@pytest.mark.parametrize(("first", "second"), list(combinations(KEYS, 2)))
def test_different_keys_give_different_seeds(first: tuple[int | str, ...], second: tuple[int | str, ...]) -> None:
    assert derive_seed(*first) != derive_seed(*second)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_key_gives_the_same_63_bit_seed_each_time(key: tuple[int | str, ...]) -> None:
    assert derive_seed(*key) == derive_seed(*key)
    assert 0 <= derive_seed(*key) < 2**63


def test_seeds_of_successive_steps_are_spread_over_all_bits() -> None:
    seeds = [derive_seed(0, "noise", step) for step in range(1000)]

    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])

    assert len(set(seeds)) == 1000
    assert np.all(np.abs(bits.mean(0) - 0.5) < 0.08)


def test_generators_of_one_key_repeat_and_of_two_differ() -> None:
    first, again, other = (torch.rand(8, generator=generator(0, "beta", step)) for step in (5, 5, 6))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_seeded_block_depends_on_its_key_alone() -> None:
    draws = []
    for disturbance in range(3):
        torch.rand(disturbance + 1)
        with seeded(0, "noise", 7):
            draws.append(torch.rand(8))
    with seeded(0, "noise", 8):
        other = torch.rand(8)

    assert all(torch.equal(draw, draws[0]) for draw in draws)
    assert not torch.equal(other, draws[0])


def test_seeded_blocks_nest() -> None:
    with seeded(0, "outer"):
        expected = torch.rand(4)
    with seeded(0, "outer"):
        first = torch.rand(2)
        with seeded(0, "inner"):
            torch.rand(100)
        second = torch.rand(2)

    assert torch.equal(torch.cat([first, second]), expected)


@pytest.mark.parametrize("block", [preserved_rng, lambda: seeded(0, "noise"), lambda: seeded(0)])
@pytest.mark.parametrize("fails", [False, True])
def test_global_generators_are_left_as_found(block: Callable[[], AbstractContextManager[None]], fails: bool) -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002 # the legacy one is watched

    try:
        with block():
            torch.rand(10)
            if fails:
                raise KeyError
    except KeyError:
        pass

    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2][1])  # noqa: NPY002


def test_making_a_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()

    generator(0, "beta").seed()

    assert torch.equal(torch.get_rng_state(), before)


def test_seeding_globally_is_torch_s_own_manual_seed():
    with preserved_rng():
        torch.manual_seed(derive_seed(3, "noise"))
        truth = torch.rand(4), torch.randn(4)
        seed_globally(3, "noise")
        assert torch.equal(torch.rand(4), truth[0]) and torch.equal(torch.randn(4), truth[1])


def test_seeded_blocks_of_two_threads_do_not_mix() -> None:
    with seeded(0, "first"):
        truth = [torch.rand(3), torch.rand(3)]
    inside, found, other = threading.Event(), [], []

    def work() -> None:
        with seeded(0, "first"):
            found.append(torch.rand(3))
            inside.set()
            threading.Event().wait(0.2)
            found.append(torch.rand(3))

    def disturb() -> None:
        inside.wait(10)
        with seeded(0, "second"):
            other.append(torch.rand(3))
            threading.Event().wait(0.4)

    before = torch.get_rng_state()
    threads = [threading.Thread(target=work), threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [part.tolist() for part in found] == [part.tolist() for part in truth]
    with seeded(0, "second"):
        assert torch.equal(torch.rand(3), other[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_process_forked_beside_a_seeded_block_can_seed() -> None:
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        with seeded(0):
            inside.set()
            over.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        with seeded(0):
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join()
