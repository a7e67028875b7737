"""What an exported file is compared at, and how two outputs are compared."""

import numpy as np
import pytest
import torch
from torch import nn

import multirate as mr
from multirate import models
from multirate.errors import DataError
from multirate.integrations.parts import parts_of, plain_at
from multirate.integrations.trials import largest_difference, relative_difference, trials
from multirate.seeding import generator, seeded

NAN = float("nan")
DIFFERENCES = [
    ([1.0, 2.0], [1.0, 2.0], 0.0),
    ([0.1, 0.2], [0.1, 0.25], 0.05),  # absolute, where values are small
    ([100.0, 1.0], [100.0, 2.0], 0.01),  # relative to the largest, where it is above 1
    ([NAN, -4.0], [NAN, -2.0], 0.5),
    ([NAN, NAN], [NAN, NAN], 0.0),
    ([NAN, 1.0], [0.0, 1.0], float("inf")),
    ([0.0, 1.0], [NAN, 1.0], float("inf")),
    ([1.0], [1.0, 1.0], float("inf")),
]


@pytest.fixture
def model():
    with seeded(0):
        return mr.convert(models.linear(shape=(4,), latents=2), mr.BetaRange(0.01, 10.0)).eval()


def example(count=3):
    return torch.rand(count, 4, generator=generator(1, "data"))


def reconstruction(model, count=3):
    return parts_of(model, example(count))[2]


@pytest.mark.parametrize(("ours", "theirs", "difference"), DIFFERENCES)
def test_differences_are_relative_to_large_values_and_nan_equals_nan_alone(ours, theirs, difference):
    assert relative_difference(np.array(ours), np.array(theirs)) == pytest.approx(difference)


def test_trials_cover_batch_sizes_ends_middle_mixture_and_outside(model):
    found = [(inputs["x"].shape[0], inputs["beta"].tolist()) for inputs in trials(reconstruction(model))]
    assert {rows for rows, _ in found} == {1, 2, 5}
    for rows in (1, 2, 5):
        betas = [beta for count, beta in found if count == rows]
        for value in (0.01, 0.1**0.5, 13.5, 27.0):
            assert any(beta == pytest.approx([value] * rows) for beta in betas)
        assert rows == 1 or any(len(set(beta)) == rows for beta in betas)


def test_a_plain_model_is_tried_at_every_batch_size(model):
    found = [inputs["x"].shape[0] for inputs in trials(reconstruction(plain_at(model, 0.5)))]
    assert found == [1, 2, 5]


@pytest.mark.parametrize("count", [1, 3])
def test_one_example_is_as_good_as_several(model, count):
    part = reconstruction(model, count)
    assert part.inputs["x"].shape[0] == part.inputs["beta"].shape[0] >= 2
    assert torch.equal(part.inputs["x"][0], example(count)[0])


def test_a_model_that_extrapolates_in_silence_is_found_out(model, tmp_path):
    part = reconstruction(model)

    def unguarded(inputs):
        beta = inputs["beta"].clamp(0.01, 13.5)
        return [model(inputs["x"], beta=beta).numpy(force=True)]

    with pytest.raises(DataError, match=r"gives another mean than PyTorch at beta \[27.0\]: off by inf"):
        largest_difference(part, tmp_path / "f.onnx", unguarded)


def test_the_part_itself_differs_by_nothing(model, tmp_path):
    part = reconstruction(model)

    def itself(inputs):
        return [output.numpy(force=True) for output in part.module(*inputs.values())]

    assert largest_difference(part, tmp_path / "f.onnx", itself) == 0.0


def test_parts_leave_modes_and_random_numbers_as_they_were():
    model = mr.convert(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 3)), encoder="0", decoder="2")
    model.train()
    model.base[2].eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    parts_of(model, torch.ones(2, 3))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
