import pytest
import torch
from torch import Tensor

from multirate.errors import BetaError
from multirate.objectives import Objective, beta_vae
from multirate.terms import Terms

TERMS = Terms(rate=torch.tensor([1.0, 2.0, 3.0]), distortion=torch.tensor([10.0, 20.0, 30.0]))


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (1.0, [11.0, 22.0, 33.0]),
        (0.5, [10.5, 21.0, 31.5]),
        (torch.tensor(0.5), [10.5, 21.0, 31.5]),
        (torch.tensor([0.0, 1.0, 10.0]), [10.0, 22.0, 60.0]),
    ],
)
def test_beta_vae_is_distortion_plus_beta_times_rate(beta: float | Tensor, expected: list[float]) -> None:
    objective: Objective = beta_vae

    assert objective(TERMS, beta).tolist() == expected


@pytest.mark.parametrize("shape", [(2,), (3, 1), (1, 3), (1,)], ids=str)
def test_betas_that_would_broadcast_over_examples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BetaError, match="for 3 examples"):
        beta_vae(TERMS, torch.ones(shape))
