import pytest
import torch
from torch import Tensor

from multirate.errors import DataError, UsageError
from multirate.metrics.kernel_distance import SUBSET_SIZE, SUBSETS, kernel_distance, plan_subsets

pytest.importorskip("torchmetrics.image.kid")

# Images of either set, subsets and their size as asked for, and size and number as taken.
PLANS = {
    "fewer real ones": ((30, 500, 10, 100), (30, 10)),
    "all of both": ((300, 300, 10, 1000), (300, 1)),
    "fewer samples": ((300, 200, 10, 1000), (200, 10)),
    "subsets": ((5000, 2000, 10, 1000), (1000, 10)),
}


def normal(n: int, features: int, seed: int) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute_force(x: list[list[float]], y: list[list[float]]) -> float:
    """The unbiased estimate, a pair at a time."""

    def kernel(a: list[float], b: list[float]) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    m = len(x)
    own = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(m) for j in range(m) if i != j)
    return own / (m * (m - 1)) - 2 * sum(kernel(a, b) for a in x for b in y) / m**2


def test_the_distance_of_whole_sets_is_the_sum_over_pairs() -> None:
    x, y = normal(12, 4, 0), 1.5 * normal(12, 4, 1) + 0.3

    assert kernel_distance(x, y) == pytest.approx(brute_force(x.tolist(), y.tolist()), rel=1e-12)


def test_float32_features_are_compared_in_float64() -> None:
    x, y = 100 * normal(12, 4, 0).float(), 100 * normal(12, 4, 1).float() + 1

    assert kernel_distance(x, y) == pytest.approx(brute_force(x.tolist(), y.tolist()), rel=1e-11)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_mean_over_sets_is_the_closed_form(shift: float) -> None:
    # (xy + 1)^3 is a product of (1, x, x^2, x^3) with weights 1, 3, 3, 1: squared differences of moments.
    expected = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2

    found = torch.tensor(
        [kernel_distance(normal(40, 1, 2 * i), normal(40, 1, 2 * i + 1) + shift) for i in range(200)],
        dtype=torch.float64,
    )

    error = float(found.std() / len(found) ** 0.5)
    assert abs(float(found.mean()) - expected) < 3 * error
    if not shift:
        assert float(found.min()) < 0


def test_it_does_not_depend_on_the_order_of_images() -> None:
    x, y = normal(30, 3, 0), normal(30, 3, 1) + 1
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))

    assert kernel_distance(x[order], y[order.flip(0)]) == pytest.approx(kernel_distance(x, y), rel=1e-12)


def test_subsets_have_a_seed_and_leave_the_global_generator() -> None:
    x, y = normal(60, 3, 0), normal(50, 3, 1) + 1
    state = torch.get_rng_state()
    found = kernel_distance(x, y, subset_size=20)

    torch.manual_seed(123)
    assert kernel_distance(x, y, subset_size=20) == found
    assert kernel_distance(x, y, subset_size=20, seed=1) != found
    torch.set_rng_state(state)
    kernel_distance(x, y, subset_size=20)
    assert torch.equal(torch.get_rng_state(), state)


def test_many_subsets_average_to_the_distance_of_the_whole() -> None:
    x, y = normal(60, 3, 0), normal(60, 3, 1) + 1

    assert kernel_distance(x, y, subset_size=30, subsets=400) == pytest.approx(kernel_distance(x, y), rel=0.05)


@pytest.mark.parametrize(("asked", "taken"), PLANS.values(), ids=PLANS)
def test_subsets_are_no_larger_than_the_sets(asked: tuple[int, int, int, int], taken: tuple[int, int]) -> None:
    assert plan_subsets(*asked) == taken


def test_what_cannot_be_compared_is_refused() -> None:
    x = normal(5, 3, 0)

    with pytest.raises(DataError, match=r"expected features \[N, 3\] of at least 2 images; got \[5, 2\]"):
        kernel_distance(x, x[:, :2])
    with pytest.raises(DataError, match=r"at least 2 images; got \[1, 3\]"):
        kernel_distance(x[:1], x)
    with pytest.raises(UsageError, match="at least 1 subset of 2 images; got 0 of 1000"):
        kernel_distance(x, x, subsets=0)
    with pytest.raises(UsageError, match="got 10 of 1"):
        kernel_distance(x, x, subset_size=1)


def test_one_subset_of_two_images_is_enough_and_each_is_a_draw_of_its_own() -> None:
    x, y = normal(6, 2, 0), normal(5, 2, 1) + 1

    one = kernel_distance(x, y, subsets=1, subset_size=2)
    assert one == pytest.approx(kernel_distance(x, y, subsets=1, subset_size=2, seed=0))
    pairs = [(a, b) for a in range(6) for b in range(a)], [(a, b) for a in range(5) for b in range(a)]
    possible = [brute_force(x[list(p)].tolist(), y[list(q)].tolist()) for p in pairs[0] for q in pairs[1]]
    assert min(abs(value - one) for value in possible) < 1e-12 * abs(one)
    # Of three subsets the mean is taken: no single pair of pairs has it.
    three = kernel_distance(x, y, subsets=3, subset_size=2)
    assert three != one
    assert min(abs(value - three) for value in possible) > 1e-9


def test_ten_subsets_of_a_thousand_are_the_default() -> None:
    assert (SUBSETS, SUBSET_SIZE) == (10, 1000)
    assert plan_subsets(2000, 3000) == (1000, 10)
    x, y = normal(30, 2, 0), normal(20, 2, 1)
    assert kernel_distance(x, y) == kernel_distance(x, y, subsets=10, subset_size=1000, seed=0)
    assert kernel_distance(x, y) != kernel_distance(x, y, subsets=9)


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    import multirate.metrics.kernel_distance as module

    real = module.package

    def noted(*names: str) -> object:
        asked.append(names)
        return real(*names)

    monkeypatch.setattr(module, "package", noted)
    kernel_distance(normal(5, 2, 0), normal(5, 2, 1))
    assert asked == [("torchmetrics.image.kid", "kernel_distance", "frechet")]
