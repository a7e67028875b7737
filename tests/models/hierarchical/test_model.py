"""NVAE: its terms against torch.distributions, its two directions, its sizes."""

import json
import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

import multirate as mr
from multirate import models
from multirate.errors import DataError, UsageError
from multirate.models.hierarchical.configurations import CONFIGURATIONS, Configuration
from multirate.models.hierarchical.model import NVAE, NVAE_LIKELIHOODS, nvae
from multirate.models.hierarchical.parts import bounded_moments
from multirate.seeding import generator, seeded

TINY = Configuration(groups=(2, 1), halvings=1, channels=4, latents=2, cells=1, outer_cells=1, expansion=2)
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64)]
COLOUR = ["gaussian", "squared_error", "discretized_logistic"]
WRONG = [
    ({"shape": (1, 27, 28)}, r"\(C, 28, 28\), \(C, 32, 32\) and \(C, 64, 64\); got \(1, 27, 28\)"),
    ({"shape": (784,)}, r"got \(784,\)"),
    ({"latents": 0}, "latents must be an integer of at least 1; got 0"),
    ({"likelihood": "poisson"}, "bernoulli, gaussian, squared_error, discretized_logistic; got 'poisson'"),
    ({"configuration": "huge"}, "small, mnist, celeba64; got 'huge'"),
    ({"configuration": {"groups": 2}}, "small, mnist, celeba64; got {'groups': 2}"),
]
WRONG_SIZES = [
    ({"groups": (1,), "halvings": 1, "channels": 0, "latents": 2, "cells": 1}, "channels .* at least 1; got 0"),
    ({"groups": (2, 0), "halvings": 1, "channels": 4, "latents": 2, "cells": 1}, r"groups .* at least 1; got \(2, 0\)"),
    ({"groups": (), "halvings": 1, "channels": 4, "latents": 2, "cells": 1}, r"groups .* at least 1; got \(\)"),
    ({"groups": (1,), "halvings": -1, "channels": 4, "latents": 2, "cells": 1}, "halvings .* at least 0; got -1"),
    (
        {"groups": (1, 1, 1), "halvings": 4, "channels": 4, "latents": 2, "cells": 1},
        "32x32 cannot be cut .* halved 6 times",
    ),
]


def tiny(shape=(1, 28, 28), likelihood="bernoulli", configuration=TINY):
    """Build a small model whose heads, normalizations and statistics are away from where they start."""
    torch.manual_seed(0)
    model = NVAE(shape, configuration, likelihood).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def data(shape=(1, 28, 28), examples=3):
    return torch.randint(2, (examples, *shape), generator=generator(0, "data")).double()


def recorded_passes(model, x):
    """Run ``terms`` once; return the prior, the posterior and the sample of each group, as torch distributions."""
    priors, posteriors, samples = [], [], []
    inner_prior, inner_posterior, inner_step = model.decoder.prior, model.encoder.posterior, model.decoder.step

    def prior(group, state):
        found = inner_prior(group, state)
        priors.append(found)
        return found

    def posterior(group, features, state):
        found = inner_posterior(group, features, state)
        posteriors.append(found)
        return found

    def step(group, state, z):
        samples.append(z)
        return inner_step(group, state, z)

    model.decoder.prior, model.encoder.posterior, model.decoder.step = prior, posterior, step
    with seeded(0):
        terms = model.terms(x)
    del model.decoder.prior, model.encoder.posterior, model.decoder.step
    groups = []
    for found, (shift, log_ratio), z in zip(priors, posteriors, samples, strict=True):
        mean, std = (torch.zeros_like(z), torch.ones_like(z)) if found is None else (found[0], found[1].exp())
        p, q = Normal(mean, std), Normal(mean + shift, std * log_ratio.exp())
        groups.append((Independent(p, 3), Independent(q, 3), z))
    return terms, groups


def test_the_rate_of_each_group_is_the_divergence_of_its_posterior_from_its_prior():
    model = tiny()
    terms, groups = recorded_passes(model, data())
    expected = torch.stack([kl_divergence(q, p) for p, q, _ in groups], dim=1)
    torch.testing.assert_close(terms.group_rate, expected)
    assert (expected > 0.01).all()
    torch.testing.assert_close(terms.rate, terms.group_rate.sum(1))


def test_the_log_weight_of_a_sample_is_that_of_the_latents_themselves():
    model, x = tiny(), data()
    terms, groups = recorded_passes(model, x)
    expected = -terms.distortion + sum(p.log_prob(z) - q.log_prob(z) for p, q, z in groups)
    with seeded(0):
        found = model.log_weight(x)
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float64


def test_samples_come_from_the_posteriors():
    model = tiny()
    _, groups = recorded_passes(model, data(examples=1).expand(100, -1, -1, -1))
    for _, q, z in groups:
        standardized = (z - q.base_dist.mean) / q.base_dist.stddev
        assert standardized.mean().abs() < 0.04
        assert standardized.std().item() == pytest.approx(1.0, abs=0.04)


def test_the_first_prior_is_standard_normal_and_the_others_are_learnt():
    _, groups = recorded_passes(tiny(), data())
    first, *others = (p.base_dist for p, _, _ in groups)
    assert (first.mean == 0).all()
    assert (first.stddev == 1).all()
    assert all((prior.mean != 0).any() and (prior.stddev != 1).any() for prior in others)


def test_the_distortion_is_that_of_the_cropped_image_at_the_sample():
    model, x = tiny(), data()
    seen = []
    handle = model.output.register_forward_hook(lambda module, args, output: seen.append(output))
    terms = model.terms(x)
    handle.remove()
    logits = seen[0][:, :, 2:30, 2:30]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
    assert seen[0].shape == (3, 1, 32, 32)
    torch.testing.assert_close(terms.distortion, expected)
    assert terms.dimensions.tolist() == [784.0] * 3


def test_the_posterior_of_a_group_depends_on_the_sample_of_the_group_before():
    model, x = tiny(), data(examples=1)
    features = model.encoder(2 * torch.nn.functional.pad(x, [2] * 4) - 1)
    state = model.decoder.begin(1)
    first = [model.decoder.step(0, state, torch.full((1, 2, 8, 8), value).double()) for value in (0.0, 1.0)]
    shifts = [model.encoder.posterior(1, features[1], after)[0] for after in first]
    assert (shifts[0] - shifts[1]).abs().max() > 1e-3


def test_the_posterior_of_each_group_depends_on_the_data_and_its_prior_on_them_through_the_samples_alone():
    model = tiny()
    x = torch.cat([data(examples=1), 1 - data(examples=1)])
    torch.manual_seed(0)
    noise = torch.randn(1, model.latents, dtype=torch.float64).expand(2, -1)
    features = model.encoder(torch.nn.functional.pad(2 * x - 1, [2] * 4, value=-1.0))
    state = model.decoder.begin(2)
    for group, flat in enumerate(noise.split(model.group_sizes, dim=1)):
        shift, log_ratio = model.encoder.posterior(group, features[group], state)
        assert (shift[0] != shift[1]).any()
        assert (log_ratio[0] != log_ratio[1]).any()
        prior = model.decoder.prior(group, state)
        assert prior is None or torch.equal(prior[0][0], prior[0][1])
        state = model.decoder.step(group, state, flat.reshape(2, *model._group_shapes[group]))


def test_sampling_the_prior_does_not_touch_the_encoder():
    model = tiny()
    expected = model.sample(2, generator=generator(1))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.fill_(math.nan)
    assert torch.equal(model.sample(2, generator=generator(1)), expected)
    assert torch.equal(
        model.sample(2, generator=generator(1), temperature=0.0)[0], model.decode(torch.zeros(1, model.latents)).mean[0]
    )


def test_samples_follow_the_chain_of_priors():
    model = tiny()
    noise = torch.randn(2, model.latents, generator=generator(4), dtype=torch.float64)
    state = model.decoder.begin(2)
    for group, flat in enumerate(noise.split(model.group_sizes, dim=1)):
        epsilon = flat.reshape(2, *model._group_shapes[group])
        prior = model.decoder.prior(group, state)
        z = epsilon if prior is None else Normal(prior[0], prior[1].exp()).icdf(Normal(0.0, 1.0).cdf(epsilon))
        state = model.decoder.step(group, state, z)
    expected = model.output(model.decoder(state)).sigmoid()[:, :, 2:30, 2:30]
    torch.testing.assert_close(model.decode(noise).mean, expected)


def test_the_posterior_over_the_noise_has_the_first_groups_rate_and_decodes_to_the_reconstruction():
    model, x = tiny(), data()
    posterior = model.encode(x)
    prior = model.prior()
    assert posterior.event_shape == prior.event_shape == (model.latents,) == (sum(model.group_sizes),)
    first = model.group_sizes[0]
    marginals = [Normal(d.base_dist.mean[..., :first], d.base_dist.stddev[..., :first]) for d in (posterior, prior)]
    torch.testing.assert_close(kl_divergence(*marginals).sum(1), model.terms(x).group_rate[:, 0])
    torch.testing.assert_close(model.decode(posterior.mean).mean, model(x))


def test_the_same_seed_gives_the_same_terms_and_reconstructions_are_without_noise():
    model, x = tiny(), data()
    with seeded(1):
        first = model.terms(x)
    with seeded(1):
        second = model.terms(x)
    other = model.terms(x)
    assert torch.equal(first.distortion, second.distortion)
    assert not torch.equal(first.distortion, other.distortion)
    assert torch.equal(model(x), model(x))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("likelihood", NVAE_LIKELIHOODS)
def test_shapes_are_those_of_the_data(shape, likelihood):
    model = tiny(shape, likelihood)
    x = data(shape, examples=2)
    terms = model.terms(x)
    assert model(x).shape == x.shape
    assert model.sample(2).shape == x.shape
    assert model.decode(torch.zeros(2, model.latents)).event_shape == shape
    assert terms.rate.shape == terms.distortion.shape == (2,)
    assert terms.group_rate.shape == (2, 3)
    assert terms.dimensions.tolist() == [math.prod(shape)] * 2


def test_a_28x28_image_is_a_32x32_one_with_an_empty_border():
    model, x = tiny(), data()
    larger = tiny((1, 32, 32))
    larger.load_state_dict(model.state_dict())
    padded = torch.nn.functional.pad(x, [2] * 4)
    with seeded(0):
        terms = model.terms(x)
    with seeded(0):
        expected = larger.terms(padded)
    torch.testing.assert_close(terms.group_rate, expected.group_rate)
    torch.testing.assert_close(model(x), larger(padded)[..., 2:30, 2:30])


def test_bounded_moments_are_the_heads_output_near_0_and_stay_below_5():
    raw = torch.tensor([3.0, 0.01, 1e6]).reshape(1, 1, 1, 3)
    shift, log_scale = bounded_moments(torch.cat([10 * raw, raw], dim=1), 5.0)
    assert torch.equal(shift, 10 * raw)
    assert log_scale.flatten().tolist() == pytest.approx([5 * math.tanh(3 / 5), 0.01, 5.0], abs=1e-6)


@pytest.mark.slow
def test_latents_are_a_few_channels_on_each_scale():
    groups = {"small": [4, 4, 8, 8], "mnist": [4] * 5 + [8] * 10, "celeba64": [8] * 5 + [16] * 10 + [32] * 20}
    for name, sides in groups.items():
        shape = (3, 64, 64) if name == "celeba64" else (1, 28, 28)
        with torch.device("meta"):
            model = nvae(shape, configuration=name)
        latents = CONFIGURATIONS[name].latents
        assert [math.isqrt(size // latents) for size in model.group_sizes] == sides
        assert [size % latents for size in model.group_sizes] == [0] * len(sides)


def cell(inputs, outputs, resized):
    """Parameters of an encoder cell, by hand: two BatchNorms, two convolutions, squeeze and excitation, skip."""
    squeezed = max(outputs // 16, 4)
    gate = outputs * squeezed + squeezed + squeezed * outputs + outputs
    skip = inputs * outputs + outputs if resized else 0
    return 2 * inputs + 9 * inputs * outputs + 2 * outputs + 9 * outputs**2 + outputs + gate + skip


def upward_cell(inputs, outputs, resized, expansion):
    """Parameters of a decoder cell, counted by hand."""
    wide, squeezed = expansion * outputs, max(outputs // 16, 4)
    gate = outputs * squeezed + squeezed + squeezed * outputs + outputs
    skip = inputs * outputs + outputs if resized else 0
    layers = 2 * inputs + inputs * wide + 2 * wide + 25 * wide + 2 * wide + wide * outputs + 2 * outputs
    return layers + gate + skip


def test_the_small_configuration_has_the_parameters_counted_by_hand():
    encoder = 16 * 16 + 16  # stem: 4x4 to 16 channels
    encoder += cell(16, 32, True) + 2 * cell(32, 32, False) + cell(32, 64, True) + 2 * cell(64, 64, False)
    encoder += 2 * (64 * 64 + 64) + 2 * (32 * 32 + 32)  # queries
    encoder += 2 * (9 * 64 * 16 + 16) + 2 * (9 * 32 * 16 + 16)  # posteriors of 8 latents
    decoder = 64 * 4 * 4  # start
    decoder += (64 * 16 + 16) + 2 * (32 * 16 + 16)  # priors
    decoder += 2 * (8 * 64 + 64) + 2 * (8 * 32 + 32)  # inputs
    decoder += 2 * upward_cell(64, 64, False, 2) + upward_cell(64, 32, True, 2) + 2 * upward_cell(32, 32, False, 2)
    decoder += upward_cell(32, 16, True, 2)
    output = 9 * 16 * 4 + 4
    assert sum(parameter.numel() for parameter in nvae().parameters()) == encoder + decoder + output


def test_a_model_is_rebuilt_from_its_name_and_options():
    model = models.nvae((1, 32, 32), latents=3, likelihood="gaussian")
    other = models.build(model.name, **json.loads(json.dumps(model.options)))
    assert isinstance(other, NVAE)
    assert other.configuration == model.configuration
    other.load_state_dict(model.state_dict())


def test_a_model_of_other_sizes_is_loaded_into_one_like_it(tmp_path):
    model = tiny().float()
    mr.save(model, tmp_path)
    with pytest.raises(DataError, match="pass an instance as base="):
        mr.load(tmp_path)
    other = mr.load(tmp_path, base=NVAE((1, 28, 28), TINY))
    assert torch.equal(other(data().float()), model(data().float()))


def test_every_parameter_gets_a_finite_gradient_and_the_start_is_near_the_prior():
    torch.manual_seed(0)
    model = nvae()
    terms = model.terms(data(examples=4).float())
    terms.objective(1.0).mean().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert terms.rate.max() < 100


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_terms_and_gradients_stay_finite_when_heads_run_away(scale):
    model = tiny().float()
    with torch.no_grad():
        for head in (*model.encoder.posteriors, *model.decoder.priors):
            head[1].weight.mul_(scale)
    terms = model.terms(data().float())
    terms.objective(1.0).mean().backward()
    assert terms.rate.isfinite().all()
    assert terms.distortion.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_terms_under_autocast_keep_full_precision():
    model, x = tiny().float(), data().float()
    with torch.autocast("cpu", dtype=torch.bfloat16), seeded(0):
        terms = model.terms(x)
    with seeded(0):
        exact = model.terms(x)
    assert terms.rate.dtype == terms.distortion.dtype == torch.float32
    torch.testing.assert_close(terms.rate, exact.rate, rtol=0.1, atol=1.0)


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_option_is_refused_with_the_right_ones(options, message):
    with pytest.raises(UsageError, match=message):
        nvae(**options)


@pytest.mark.parametrize(("sizes", "message"), WRONG_SIZES)
def test_a_configuration_that_cannot_be_is_refused(sizes, message):
    with pytest.raises(UsageError, match=message):
        NVAE((1, 28, 28), Configuration(**sizes))


@pytest.mark.parametrize("x", [torch.zeros(2, 784), torch.zeros(2, 1, 28, 28, dtype=torch.int64)])
def test_data_of_another_shape_or_type_is_refused(x):
    with pytest.raises(UsageError, match=r"nvae takes floating data of shape \[B, 1, 28, 28\]"):
        nvae().terms(x)


@pytest.mark.parametrize(("n", "temperature"), [(0, 1.0), (2, -1.0), (2, math.nan)])
def test_wrong_numbers_for_samples_are_refused(n, temperature):
    with pytest.raises(UsageError, match="sample takes n of at least 1"):
        tiny().sample(n, temperature=temperature)
