"""The linear VAE at its boundaries: parameters worked out by hand, types, tolerances, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from multirate.beta import BetaRange
from multirate.errors import BetaError, UsageError
from multirate.theory import LinearGate, LinearVAE, fixed_decoder_gates, linear_terms

# Directions of the axes, eigenvalues 4, 1 and 0.25, in another order; two latents.
COVARIANCE = [[1.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.25]]
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def values(tensor: Tensor) -> list[float]:
    assert tensor.dtype == torch.float64
    return tensor.flatten().tolist()


@pytest.mark.parametrize(
    ("beta", "rate", "error"),
    [
        (0.5, 0.5 * (math.log(8) + math.log(2)), 0.5 + 0.5 + 0.25),
        (1.0, 0.5 * math.log(4), 1 + 1 + 0.25),
        (2.0, 0.5 * math.log(2), 2 + 1 + 0.25),
        (4.0, 0.0, 4 + 1 + 0.25),
        (9.0, 0.0, 4 + 1 + 0.25),
    ],
)
def test_rate_and_distortion_are_those_of_two_latents_worked_out_by_hand(
    beta: float, rate: float, error: float
) -> None:
    optimum = LinearVAE(COVARIANCE, 2)
    distortion = 0.5 * error + 3 * HALF_LOG_TWO_PI

    assert values(optimum.rate(beta)) == pytest.approx([rate], abs=1e-14)
    assert values(optimum.distortion(beta)) == pytest.approx([distortion], rel=1e-14)
    assert values(optimum.objective(beta)) == pytest.approx([distortion + beta * rate], rel=1e-14)
    assert values(optimum.eigenvalues) == pytest.approx([4.0, 1.0, 0.25])


def test_parameters_are_those_of_two_latents_worked_out_by_hand() -> None:
    found = LinearVAE(COVARIANCE, 2).parameters(0.5)

    assert values(found.decoder.abs()) == pytest.approx([0, math.sqrt(0.5), math.sqrt(3.5), 0, 0, 0])
    assert values(found.encoder.abs()) == pytest.approx([0, math.sqrt(3.5) / 4, 0, math.sqrt(0.5), 0, 0])
    assert values(found.variance) == pytest.approx([0.125, 0.5])
    assert torch.equal(found.decoder.sign(), found.encoder.T.sign())


def test_exact_gates_are_those_of_two_latents_worked_out_by_hand() -> None:
    gates = LinearVAE(COVARIANCE, 2, mean=[1.0, 2.0, 3.0]).exact_gates()

    assert values(gates.mean) == [1.0, 2.0, 3.0]
    assert values(gates.encoder_first.abs()) == [0, 1, 0, 1, 0, 0]
    assert values(gates.encoder_second) == [0.5, 0, 0, 1.0]
    assert values(gates.decoder_first) == [1, 0, 0, 1]
    assert values(gates.decoder_second.abs()) == [0, 1, 2, 0, 0, 0]
    for gate, function in (
        (gates.encoder_first_gate, "sqrt"),
        (gates.decoder_first_gate, "sqrt"),
        (gates.log_variance_gate, "ramp"),
    ):
        assert (gate.function, values(gate.slope)) == (function, [1, 1])
        assert values(gate.offset) == pytest.approx([-math.log(4), 0.0])
    for gate, size in ((gates.encoder_second_gate, 2), (gates.decoder_second_gate, 3)):
        assert (gate.function, values(gate.slope)) == ("sqrt", [0] * size)
        assert values(gate.offset) == [-50.0] * size


def test_gates_of_the_standardized_log_beta_are_moved_and_stretched() -> None:
    beta_range = BetaRange(0.1, 40.0)
    gates = LinearVAE(COVARIANCE, 2).exact_gates()

    moved = gates.standardized(beta_range)

    for name in ("encoder_first", "encoder_second", "log_variance", "decoder_first", "decoder_second"):
        raw, found = getattr(gates, f"{name}_gate"), getattr(moved, f"{name}_gate")
        assert found.function == raw.function
        torch.testing.assert_close(found.slope, raw.slope * beta_range.log_std, rtol=1e-14, atol=0)
        torch.testing.assert_close(found.offset, raw.offset + raw.slope * beta_range.log_mean, rtol=1e-14, atol=0)
    assert torch.equal(moved.decoder_second, gates.decoder_second)


def test_gates_of_a_fixed_decoder_are_those_worked_out_by_hand() -> None:
    decoder = torch.tensor([[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]])

    gates = fixed_decoder_gates(decoder)

    assert values(gates.encoder_first.abs()) == pytest.approx([0, 1, 0, 1, 0, 0])
    assert values(gates.encoder_second.abs()) == pytest.approx([2 / 3, 0, 0, 1])
    assert gates.encoder_first_gate.function == "sigmoid"
    assert values(gates.encoder_first_gate.slope) == [-1, -1]
    assert values(gates.encoder_first_gate.offset) == pytest.approx([2 * math.log(3), 2 * math.log(2)])
    assert gates.encoder_second_gate == gates.encoder_second_gate
    assert (gates.encoder_second_gate.function, values(gates.encoder_second_gate.slope)) == ("sigmoid", [0, 0])
    assert values(gates.encoder_second_gate.offset) == [0, 0]
    assert (gates.variance_gate.function, values(gates.variance_gate.slope)) == ("sigmoid", [1, 1])
    assert values(gates.variance_gate.offset) == pytest.approx([-math.log(9), -math.log(4)])
    beta_range = BetaRange(0.1, 40.0)
    moved = gates.standardized(beta_range)
    for name in ("encoder_first_gate", "encoder_second_gate", "variance_gate"):
        gate = getattr(gates, name)
        assert values(getattr(moved, name).slope) == pytest.approx(values(gate.slope * beta_range.log_std))
        assert values(getattr(moved, name).offset) == pytest.approx(
            values(gate.offset + gate.slope * beta_range.log_mean)
        )


def test_a_decoder_of_too_low_rank_has_no_inverse_of_its_rounding() -> None:
    column = torch.tensor([[1.0], [2.0], [2.0]], dtype=torch.float64)

    gates = fixed_decoder_gates(torch.cat([column, column], 1))

    # One singular value, 3 sqrt 2; what is left of the other is rounding, or nothing.
    assert gates.encoder_second.abs().max() == pytest.approx(2 / math.sqrt(2) / (3 * math.sqrt(2)))
    zero = fixed_decoder_gates(torch.zeros(3, 2))
    assert not zero.encoder_second.any()
    assert zero.encoder_first_gate.offset.isfinite().all()
    assert zero.variance_gate.offset.isfinite().all()
    assert values(zero.variance_gate.offset) == pytest.approx([-math.log(torch.finfo(torch.float64).tiny)] * 2)
    assert values(zero.encoder_first_gate.offset) == pytest.approx([2 * math.log(torch.finfo(torch.float64).tiny)] * 2)


@pytest.mark.parametrize(("share", "kept"), [(0.9, False), (1.1, True)])
def test_singular_values_below_the_rounding_of_the_greatest_are_none(share: float, kept: bool) -> None:
    least = share * 3 * torch.finfo(torch.float64).eps
    decoder = torch.tensor([[1.0, 0.0], [0.0, least], [0.0, 0.0]], dtype=torch.float64)

    inverse = fixed_decoder_gates(decoder).encoder_second

    assert bool(inverse.abs().max() > 3) is kept


@pytest.mark.parametrize(("share", "kept"), [(0.9, False), (1.1, True)])
def test_eigenvalues_below_the_rounding_of_the_greatest_are_none(share: float, kept: bool) -> None:
    least = share * 2 * torch.finfo(torch.float64).eps

    assert bool(LinearVAE([[1.0, 0.0], [0.0, least]], 2).eigenvalues[1] > 0) is kept


def test_directions_without_variance_have_no_weight_and_gates_that_are_numbers() -> None:
    optimum = LinearVAE([[1.0, 0.0], [0.0, 0.0]], 3)
    gates = optimum.exact_gates()

    assert values(gates.encoder_second.diagonal()) == [1, 0, 0]
    assert values(gates.log_variance_gate.offset) == pytest.approx(
        [0.0] + [-math.log(torch.finfo(torch.float64).tiny)] * 2
    )
    assert (gates.decoder_second.shape, gates.encoder_first.shape) == ((2, 3), (3, 2))
    assert values(optimum.rate([0.5, 1e-300])) == pytest.approx([0.5 * math.log(2), 0.5 * math.log(1e300)])


@pytest.mark.parametrize("beta", [0.5, [0.5, 1.0], [[0.5], [2.0]], torch.tensor([0.5, 1.0]), torch.tensor(2)], ids=str)
def test_any_shape_of_beta_has_its_numbers(beta: object) -> None:
    optimum, betas = LinearVAE(COVARIANCE, 2), torch.as_tensor(beta, dtype=torch.float64)

    for method in (optimum.rate, optimum.distortion, optimum.objective):
        found = method(beta)  # type: ignore[arg-type]
        assert (found.shape, found.dtype) == (betas.shape, torch.float64)
        expected = [method(value).item() for value in betas.flatten().tolist()]
        assert found.flatten().tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("beta", "shown"), [(0.0, "0"), (-1.5, "-1.5"), ([1.0, math.nan], "nan"), ([math.inf], "inf")])
def test_the_first_beta_that_is_none_is_named(beta: object, shown: str) -> None:
    for method in (LinearVAE(COVARIANCE, 2).rate, LinearVAE(COVARIANCE, 2).parameters):
        with pytest.raises(BetaError, match=f"^beta must be positive and finite; got {shown}$"):
            method(beta)  # type: ignore[operator]


def test_the_least_beta_is_a_beta() -> None:
    assert LinearVAE(COVARIANCE, 2).rate(5e-324).isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_a_matrix_is_symmetric_to_the_rounding_of_its_type(dtype: torch.dtype, size: float) -> None:
    tolerance = torch.finfo(dtype).eps ** (2 / 3)

    def skewed(share: float) -> Tensor:
        return torch.tensor([[size, 0.0], [share * tolerance * size, 0.5 * size]], dtype=dtype)

    LinearVAE(skewed(0.9), 1)
    LinearVAE(torch.zeros(2, 2, dtype=dtype), 1)
    with pytest.raises(UsageError, match="symmetric; it differs from its transpose by"):
        LinearVAE(skewed(1.1), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_an_eigenvalue_is_none_to_the_rounding_of_its_type(dtype: torch.dtype, size: float) -> None:
    tolerance = torch.finfo(dtype).eps ** (2 / 3)

    def with_least(share: float) -> Tensor:
        return torch.diag(torch.tensor([size, -share * tolerance * size], dtype=dtype))

    assert LinearVAE(with_least(0.9), 1).eigenvalues[1] == 0
    with pytest.raises(UsageError, match="negative eigenvalue, -"):
        LinearVAE(with_least(1.1), 1)


def test_a_matrix_of_negative_numbers_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="negative eigenvalue"):
        LinearVAE([[-1e-3]], 1)


NO_NUMBERS = [
    ({"covariance": "many"}, "the covariance must be an array of numbers"),
    ({"covariance": [[1j]]}, "the covariance must be real; got torch.complex64"),
    ({"covariance": [[1.0, 2.0]]}, r"square matrix, \[d, d\]; got shape \[1, 2\]"),
    ({"covariance": [1.0]}, r"got shape \[1\]"),
    ({"covariance": [[[1.0]]]}, r"got shape \[1, 1, 1\]"),
    ({"covariance": torch.zeros(0, 0)}, r"got shape \[0, 0\]"),
    ({"covariance": [[math.nan]]}, "a value that is not finite"),
    ({"mean": "many"}, "the mean must be an array of numbers"),
    ({"mean": [1j, 0, 0]}, "the mean must be real"),
    ({"mean": [0.0, 0.0]}, r"the mean must be 3 finite numbers, \[d\]; got shape \[2\]"),
    ({"mean": [0.0, 0.0, math.inf]}, "the mean must be 3 finite numbers"),
    ({"latents": 0}, "at least 1 latent, a whole number; got 0"),
    ({"latents": True}, "got True"),
    ({"latents": 1.0}, "got 1.0"),
]


@pytest.mark.parametrize(("wrong", "message"), NO_NUMBERS, ids=str)
def test_what_makes_no_linear_vae_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LinearVAE(**{"covariance": COVARIANCE, "latents": 2, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [int, np.float32, np.float64])
def test_numbers_of_any_type_are_taken_and_gradients_are_not(kind: type) -> None:
    optimum = LinearVAE(np.array([[4, 0], [0, 1]], dtype=kind).tolist(), 1, mean=[1, 2])

    assert values(optimum.eigenvalues) == [4, 1]
    assert values(optimum.mean) == [1, 2]
    learnt = torch.tensor([[4.0, 0.0], [0.0, 1.0]], requires_grad=True)
    assert not LinearVAE(learnt, 1).rate(0.5).requires_grad
    assert LinearVAE(learnt, 1).mean.tolist() == [0, 0]


def test_terms_of_any_linear_vae_are_those_worked_out_by_hand() -> None:
    decoder, encoder = torch.tensor([[2.0], [1.0]]).double(), torch.tensor([[0.5, 0.25]]).double()
    variance, covariance = torch.tensor([0.5]).double(), torch.tensor([[4.0, 1.0], [1.0, 2.0]]).double()

    rate, distortion = linear_terms(decoder, encoder, variance, covariance)

    # E S E' = 0.25 * 4 + 2 * 0.125 + 0.0625 * 2 = 1.375; I - DE = [[0, -0.5], [-0.5, 0.75]].
    assert rate.item() == pytest.approx(0.5 * (1.375 + 0.5 - 1 - math.log(0.5)))
    left = torch.tensor([[0.0, -0.5], [-0.5, 0.75]]).double()
    error = (left @ covariance @ left.T).trace().item()
    assert distortion.item() == pytest.approx(0.5 * (error + 5 * 0.5) + 2 * HALF_LOG_TWO_PI)
    assert (rate.shape, distortion.shape) == ((), ())


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 1), (2, 1), (1,), (2, 2)),
        ((2, 1), (1, 2), (2,), (2, 2)),
        ((2, 1), (1, 2), (1,), (2, 1)),
        ((2, 1), (1, 2), (1, 1), (2, 2)),
    ],
    ids=str,
)
def test_terms_of_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(UsageError, match=r"must be \[d, k\], \[k, d\], \[k\] and \[d, d\]"):
        linear_terms(*(torch.ones(shape) for shape in shapes))


@pytest.mark.parametrize("decoder", [torch.ones(2), torch.ones(1, 2), torch.tensor([[1.0], [math.nan]])], ids=str)
def test_a_decoder_that_is_no_tall_finite_matrix_is_refused(decoder: Tensor) -> None:
    with pytest.raises(UsageError, match=r"finite matrix \[d, k\] with k <= d"):
        fixed_decoder_gates(decoder)


def test_a_square_decoder_is_tall_enough_and_gradients_do_not_go_in() -> None:
    gates = fixed_decoder_gates(torch.eye(2, requires_grad=True))

    assert not gates.encoder_second.requires_grad
    assert values(gates.encoder_first_gate.offset) == [0, 0]


def test_a_gate_is_standardized_by_its_own_slope() -> None:
    gate = LinearGate("sqrt", torch.tensor([2.0]), torch.tensor([1.0]))
    beta_range = BetaRange(0.5, 8.0)

    moved = gate.standardized(beta_range)

    assert moved.function == "sqrt"
    assert moved.slope.item() == pytest.approx(2 * beta_range.log_std)
    assert moved.offset.item() == pytest.approx(1 + 2 * math.log(2))
