"""The harnesses of load find what a faulty library does, and nothing in a sound one."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from torch import Tensor

from multirate import wrapper
from multirate.data import Source
from torture import mapped, members, requests


class OneForAll:
    """Gates of the call in progress, as they would be if threads shared them."""

    gates = None
    of = wrapper.ActiveGates.of


@pytest.mark.torture
def test_requests_of_many_threads_are_answered_as_those_of_one() -> None:
    found = requests.run(90, 4, 2, 1)
    assert found["failures"] == []
    assert found["requests"] == 90
    assert found["folds_and_evaluations_beside"] > 0


@pytest.mark.torture
def test_a_beta_that_threads_share_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapper, "ActiveGates", OneForAll)
    monkeypatch.setattr(requests, "SWITCH", 1e-6)
    found = requests.run(200, 8, 0, 1, ("mlp",))
    assert found["wrong"] > 0


def test_every_request_is_a_function_of_its_number() -> None:
    first, again = (requests.request_of("lstm", 3, 7) for _ in range(2))
    assert (first.kind, first.betas, first.seed) == (again.kind, again.betas, again.seed)
    assert torch.equal(first.x, again.x)
    kinds = {requests.request_of("mlp", 0, number).kind for number in range(100)}
    assert kinds == set(requests.KINDS)


def test_what_a_request_leaves_behind_is_found() -> None:
    model = requests.built("mlp", 0)
    before = requests.digest([*model.state_dict().values()])
    assert requests.left_behind(model, before) == []
    model(requests.data_of("mlp", 2, torch.Generator()), beta=0.5).sum().backward()
    with torch.no_grad():
        next(model.parameters()).add_(1)
    assert requests.left_behind(model, before) == ["weights have changed", "a parameter has a gradient"]


class Hoarder(Source):
    """A source that keeps a reference to every batch."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.shape, name=source.name, split=source.split, likelihood=source.likelihood)
        self._source, self._kept = source, list[Tensor]()

    def __len__(self) -> int:
        return len(self._source)

    def batch(self, indices: Tensor) -> Tensor:
        self._kept.append(self._source.batch(indices))
        return self._kept[-1]


@pytest.mark.torture
@pytest.mark.parametrize(("change", "failures"), [(None, 0), (Hoarder, 1)])
def test_memory_is_flat_unless_batches_are_kept(change: type[Hoarder] | None, failures: int) -> None:
    # In a process of its own, for in one that other tests have used what is kept may lie in memory that they left.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        found = other.submit(mapped.run, 25_000, 2, 500, 40.0, 0, change).result()
    assert len(found["failures"]) >= failures
    assert failures or found["failures"] == []


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore:.*holds no checkpoint; starting again")  # the member could not write its first
def test_failed_members_of_a_sweep_are_told_and_done_again() -> None:
    found = members.run(5, 2, 0)
    assert found["failures"] == []
    assert (found["failed_at_first"], found["exit_codes"], found["points_at_last"]) == (2, [1, 0], 5)


@pytest.mark.torture
def test_members_that_fail_again_are_found() -> None:
    found = members.run(3, 1, 0, remove=False)
    assert any("the exit code is 1, not 0" in line for line in found["failures"])
    assert any("the curve has 2 points" in line for line in found["failures"])
