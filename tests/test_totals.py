"""Perplexity, bits per dimension and the rates of groups, at known answers."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

import multirate as mr
from multirate import models
from multirate.data.text import TextSource
from multirate.data.vocabulary import Vocabulary
from multirate.errors import UsageError
from multirate.seeding import seeded
from multirate.terms import Terms
from multirate.totals import Totals


def terms(rate, distortion, dimensions=None, groups=None):
    def tensor(values):
        return None if values is None else torch.tensor(values, dtype=torch.float64)

    return Terms(tensor(rate), tensor(distortion), group_rate=tensor(groups), dimensions=tensor(dimensions))


def measured(*batches, likelihood):
    total = Totals()
    for batch in batches:
        total.add(batch, "here", 0)
    return total.point(0.5, sum(len(batch.rate) for batch in batches), likelihood)


def test_a_model_that_guesses_among_k_words_has_perplexity_k():
    lengths = [3.0, 7.0, 2.0]
    point = measured(terms([0.0] * 3, [n * math.log(50) for n in lengths], lengths), likelihood="categorical")
    assert point["perplexity"] == pytest.approx(50)
    assert point["nll"] == pytest.approx(4 * math.log(50))


def test_perplexity_counts_the_rate_and_weighs_words_not_sentences():
    batches = [terms([1.0], [9.0], [2.0]), terms([5.0], [25.0], [8.0])]
    assert measured(*batches, likelihood="categorical")["perplexity"] == pytest.approx(math.exp(40 / 10))


def test_a_uniform_byte_costs_eight_bits_a_dimension():
    point = measured(terms([0.0], [12 * math.log(256)], [12.0]), likelihood="discretized_logistic")
    assert point["distortion_bits_per_dim"] == pytest.approx(8)
    assert point["rate_bits_per_dim"] == 0


def test_binary_pixels_of_a_hierarchical_model_have_bits():
    point = measured(terms([math.log(2)], [3 * math.log(2)], [4.0], [[math.log(2), 0.0]]), likelihood="bernoulli")
    assert (point["rate_bits_per_dim"], point["distortion_bits_per_dim"]) == pytest.approx((0.25, 0.75))


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", None])
def test_densities_have_no_bits_and_images_no_perplexity(likelihood):
    point = measured(terms([1.0], [2.0], [4.0]), likelihood=likelihood)
    assert set(point) == {"beta", "rate", "distortion", "elbo", "objective"}


class Groups(nn.Module):
    """Two groups of latents whose rates are known functions of x; a group's gate is the first layer's."""

    likelihood = "gaussian"

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 2)
        self.decoder = nn.Linear(2, 2)

    def terms(self, x):
        return Terms(x.sum(1), x[:, 0] * 0, group_rate=x)


def test_rates_of_groups_are_kept_a_row_a_point_in_the_details():
    x = torch.tensor([[1.0, 4.0], [3.0, 8.0], [2.0, 0.0]])
    curve = mr.evaluate(Groups(), x, beta=0.7, batch_size=2, progress=False)
    assert curve.details["group_rates"] == [[2.0, 4.0]]
    assert curve.points[0]["rate"] == sum(curve.details["group_rates"][0])


def test_a_model_without_groups_says_nothing_of_them():
    assert Totals().rates_of("group_rates", 3) is None
    curve = mr.evaluate(Plain(), torch.ones(3, 2), beta=1.0, progress=False)
    assert not {"group_rates", "latent_rates"} & set(curve.details)


class Plain(nn.Module):
    def terms(self, x):
        return Terms(x.sum(1), x[:, 0] * 0)


class Latents(Plain):
    """Three latents whose rates are known functions of x."""

    def terms(self, x):
        rates = torch.stack([x[:, 0], 2 * x[:, 1], 0 * x[:, 0]], dim=1)
        return Terms(rates.sum(1), x[:, 0] * 0, latent_rate=rates)


def test_rates_of_latents_are_kept_a_row_a_point_over_all_batches_and_samples():
    x = torch.tensor([[1.0, 4.0], [3.0, 8.0], [2.0, 0.0]])
    curve = mr.evaluate(Latents(), x, beta=0.7, batch_size=2, samples=3, progress=False)
    assert curve.details["latent_rates"] == [[2.0, 8.0, 0.0]]
    assert curve.points[0]["rate"] == sum(curve.details["latent_rates"][0])


def test_latents_of_a_multi_rate_model_have_a_row_for_each_beta():
    with seeded(0):
        model = mr.convert(models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,)), mr.BetaRange(0.01, 10.0))
    curve = mr.evaluate(model, torch.ones(5, 1, 4, 4), 4, progress=False)
    rows = torch.tensor(curve.details["latent_rates"])
    assert rows.shape == (4, 2)
    torch.testing.assert_close(rows.sum(1).double(), torch.tensor(curve.rates), rtol=1e-5, atol=1e-6)


def test_every_point_of_a_text_curve_has_its_perplexity():
    with seeded(0):
        words = Vocabulary(["the", "cat", "sat", "dog"])
        vae = models.lstm((5,), latents=3, vocabulary_size=len(words), embedding=5, hidden=6)
        model = mr.convert(vae, mr.BetaRange(0.01, 10.0))
        with torch.no_grad():
            for parameter in model.response.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
    source = TextSource.from_lines(["the cat sat", "dog", "the dog sat the cat"], words)
    curve = mr.evaluate(model, source, 3, progress=False)
    # 4, 2 and 6 predictions: the words and each sentence's end.
    expected = [math.exp((point["rate"] + point["distortion"]) / 4) for point in curve.points]
    assert curve.values("perplexity").tolist() == pytest.approx(expected)
    assert len(set(expected)) == 3


def test_a_text_far_from_its_model_has_a_perplexity_that_is_a_number():
    assert measured(terms([0.0], [1e6], [2.0]), likelihood="categorical")["perplexity"] == pytest.approx(math.exp(700))


def test_the_decomposition_of_known_posteriors_is_a_measure_of_the_curve():
    with seeded(0):
        model = models.mlp(shape=(1, 4, 4), latents=2, hidden=(8,))
    x = (torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    curve = mr.evaluate(model, x, beta=1.0, measures=("decomposition",), progress=False)
    point = curve.points[0]
    parts = sum(point[name] for name in ("mutual_information", "total_correlation", "dimension_wise_kl"))
    with torch.no_grad(), seeded(0, "evaluate", 0, 0):
        posterior = model.eval().terms(x).posterior
    sampled = Independent(Normal(posterior.mean, (posterior.log_variance / 2).exp()), 1).log_prob(posterior.sample)
    prior = Independent(Normal(torch.zeros(60, 2), torch.ones(60, 2)), 1).log_prob(posterior.sample)
    assert parts == pytest.approx(float((sampled - prior).mean()), abs=1e-4)
    assert "active_units" not in point


def test_a_model_without_posterior_has_no_decomposition():
    with pytest.raises(UsageError, match="decomposition needs the posterior"):
        mr.evaluate(Groups(), torch.ones(3, 2), beta=1.0, measures=("decomposition",), progress=False)
