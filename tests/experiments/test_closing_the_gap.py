import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from multirate import BetaRange, convert, models
from multirate.errors import UsageError
from multirate.seeding import seeded
from multirate.terms import Terms

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "closing_the_gap"

with pytest.MonkeyPatch.context() as path:
    path.setattr(sys, "path", [str(FOLDER), *sys.path])  # as `python experiments/closing_the_gap/trial.py` has it
    candidates, finetune, gradients, latents_used, linear, options, recipe, table, trial = (
        importlib.import_module(name)
        for name in (
            "candidates",
            "finetune",
            "gradients",
            "latents_used",
            "linear",
            "options",
            "recipe",
            "table",
            "trial",
        )
    )

Trial = options.Trial
SMALL = {"data": "digits", "examples": 200, "epochs": 1, "latents": 4}
EVERYTHING = {
    **{"degree": 3, "sharpness": 4.0, "gated_heads": True, "log_variance_slope": 1.0, "slope_signs": "random"},
    **{"matrix_layers": ["mean", "decoder.0"], "skew_end": 4.0, "uniform_share": 0.2, "loss_weight_exponent": 0.5},
    **{"initial_weights": "torch", "initial_scale": 2.45, "output_bias": True, "threshold_learning_rate": 0.01},
}
CASES = {
    "default": {},
    "everything": EVERYTHING,
    "u-shape and paper's gates": {"u_shape": [0.5, 0.75], "gates": "paper", "gated_latents": False},
    "dedicated": {"beta": 0.5, "step_factors": ["decoder.0=4"]},
    "later ones": {
        **{"specialists": [0.25, 0.8], "partition": [0.5, 0.4, 0.2, 1.0], "growth": [1.0, 0.5], "betas_per_example": 2},
        **{"hidden": [16, 8], "step_factors": ["decoder.0=4", "mean=0.5"]},
    },
    "linear, latents alone": {"model": "linear", "gates": "none", "threshold_learning_rate": 0.0},
}


def images(n=6):
    return (torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.6).float()


def built(**chosen):
    with seeded(0):
        return recipe.build(Trial(latents=4, **chosen), images(), "bernoulli").eval()


def figures(row):
    return {name: value for name, value in row.items() if name != "seconds"}


@pytest.mark.slow
@pytest.mark.parametrize("chosen", CASES.values(), ids=CASES)
def test_a_trial_runs_and_repeats_itself(chosen):
    asked = Trial.from_options({**SMALL, **chosen, "note": "a"})
    row = trial.run(asked)
    torch.manual_seed(123)
    assert figures(trial.run(asked)) == figures(row)
    assert Trial.from_options(row["trial"]) == asked
    wanted = [0.5] if "beta" in chosen else [0.01, 0.021544, 0.046416, 0.1, 0.215443, 0.464159, 1.0, 2.154435, 4.641589]
    assert row["betas"][:9] == wanted
    for split in ("validation", "test"):
        assert len(row[split]["objective"]) == len(row[split]["rate"]) == len(row["betas"])
        assert all(map(math.isfinite, row[split]["objective"]))


def test_another_seed_gives_other_figures():
    first, second = (trial.run(Trial(**SMALL, seed=seed)) for seed in (0, 1))
    assert first["test"] != second["test"]


def test_with_every_candidate_off_the_model_is_the_librarys_default():
    x, beta = images(), torch.tensor([0.01, 0.1, 0.5, 1.0, 5.0, 13.0])
    with seeded(0):
        expected = convert(models.mlp(shape=(1, 8, 8), latents=4), BetaRange()).eval()
    model = built()
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        name: value.tolist() for name, value in expected.state_dict().items()
    }
    assert torch.equal(model(x, beta=beta), expected(x, beta=beta))


def test_candidates_that_start_at_zero_leave_the_outputs_as_they_were():
    x, beta = images(), torch.tensor([0.01, 0.1, 0.5, 1.0, 5.0, 13.0])
    plain, rich = built(), built(degree=4, gated_heads=True, matrix_layers=("mean", "output"))
    torch.testing.assert_close(rich(x, beta=beta), plain(x, beta=beta))
    with torch.no_grad():
        rich.response.extras[-1].weight.fill_(0.1)
    assert not torch.allclose(rich(x, beta=beta), plain(x, beta=beta), atol=1e-3)


def test_the_growing_range_starts_at_its_beta_and_ends_whole():
    asked = Trial(growth=(1.0, 0.5))
    source = torch.Generator().manual_seed(0)
    lows = [float(recipe.draw_betas(asked, 4096, source, progress).min()) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert lows == pytest.approx([1.0, 0.1, 0.01, 0.01], rel=0.01)


def test_scales_start_at_the_means_that_are_asked_for_at_both_ends():
    response = built(scale_ends=(1.3, 0.5)).response
    for end, mean in ((-math.sqrt(3), 1.3), (math.sqrt(3), 0.5)):
        gates = response(torch.tensor([end]))
        hidden = [gate.scale for slot, gate in zip(response.slots, gates, strict=True) if slot.gate == "cubic"]
        assert len(hidden) == 4
        assert torch.cat(hidden, dim=1).mean().item() == pytest.approx(mean, abs=1e-5)


def test_specialists_rise_with_the_third_power_and_the_others_fall():
    response = built(specialists=(0.25, 0.8)).response
    for x in (-1.0, -0.2, 0.5, 1.0):
        scale = response(torch.tensor([x * math.sqrt(3)]))[0].scale[0]
        rise = ((x + 1) / 2) ** 3
        expected = torch.tensor([rise, *[1 - 0.8 * rise] * 3] * (len(scale) // 4))
        torch.testing.assert_close(scale, expected, atol=1e-5, rtol=0)


def test_a_partition_shuts_one_part_below_and_the_other_above():
    model, plain = built(partition=(0.25, 0.0, 0.01, 0.9)), built()
    for beta, upper, lower in ((0.1, 0.0, 1.0), (1.0, 0.5, 0.55), (10.0, 1.0, 0.1)):
        at = model.beta_range.standardize(beta).float()
        for gate, expected in zip(model.response(at)[:4], plain.response(at)[:4], strict=True):
            part = torch.tensor([upper, lower, lower, lower]).repeat(gate.scale.shape[1] // 4)
            torch.testing.assert_close(gate.scale, expected.scale * part, atol=1e-4, rtol=0)


def test_step_factors_reach_their_layer_alone():
    asked = Trial(learning_rate=0.01, step_factors=("mean=0.5",))
    model = built()
    groups = recipe.parameter_groups(asked, model)
    found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert {found[id(p)] for p in model.base.mean.parameters()} == {0.005}
    assert {found[id(p)] for p in model.base.log_variance.parameters()} == {0.01}
    assert set(found) == {id(p) for p in model.parameters()}


def test_a_step_factor_of_an_unknown_layer_is_refused():
    with pytest.raises(UsageError, match=r"decoder\.9"):
        recipe.parameter_groups(Trial(step_factors=("decoder.9=2",)), built())


def test_latents_in_use_are_those_with_a_rate_above_a_tenth():
    class Four(torch.nn.Module):
        def terms(self, x):
            return Terms(torch.ones(len(x)), torch.ones(len(x)), torch.tensor([0.0, 0.09, 0.11, 0.8]).repeat(len(x), 1))

    assert latents_used.latents_used(Four(), images(), 1.0) == 2


def test_two_betas_an_example_average_the_objectives_of_both(monkeypatch):
    seen = []
    monkeypatch.setattr(
        recipe, "objective", lambda _, model, x, beta: seen.append((x, beta)) or model.base.mean.weight.sum()
    )
    asked = Trial(**SMALL, betas_per_example=2, batch_size=64)
    recipe.train(asked, built(), images(64))
    ((x, beta),) = seen
    assert torch.equal(x[:64], x[64:])
    assert len(set(beta.tolist())) == 128


@pytest.mark.slow
def test_finetuning_lowers_the_objective_and_leaves_the_model_as_it_was():
    x = images(300)
    model = built()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = finetune.finetuned(model, x, x, 1.0, [5, 40])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert record["all"]["40"] < record["all"]["5"] < record["start"]
    assert record["gates"] < record["start"]
    assert set(record["one"]) == {name.rpartition(".")[0] for name, _ in model.base.named_parameters()}
    assert max(record["one"].values()) < record["start"]


def test_without_training_every_finetuned_figure_is_the_models_own(monkeypatch):
    monkeypatch.setattr(finetune, "tune", lambda *_: None)
    x = images(300)
    record = finetune.finetuned(built(), x, x, 0.3, [5, 40])
    untrained = [record["gates"], *record["all"].values(), *record["one"].values()]
    assert untrained == pytest.approx([record["start"]] * len(untrained), abs=0.002)


def test_legendre_terms_are_those_of_numpy():
    at = torch.linspace(-1.1, 1.1, 9, dtype=torch.float64)
    for degree in range(2, 6):
        one = [0.0] * degree + [1.0]
        expected = torch.from_numpy(np.polynomial.legendre.legval(at.numpy(), one))
        torch.testing.assert_close(candidates.higher_legendre(at, 5)[:, degree - 2], expected)


def test_an_affine_matrix_is_the_sum_of_two_by_the_position_of_log_beta():
    layer = torch.nn.Linear(3, 2)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    matrix = candidates.AffineMatrix(layer)
    with torch.no_grad():
        matrix.weight.fill_(0.5)
        matrix.position = BetaRange.log_uniform().standardize(torch.tensor([0.01, 10.0, 10**-0.5, 10.0])).reshape(-1, 1)
        add = torch.tensor([-1.0, 1.0, 0.0, 1.0])[:, None] * 0.5 * x.sum(1, keepdim=True)
        torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias + add)


@pytest.mark.parametrize(
    ("chosen", "progress", "median"),
    [
        ({"skew": 3.0, "margin": 1.0}, 0.0, 0.01 * 1000 ** (1 / 8)),
        ({"skew": 3.0, "skew_end": 1.0, "margin": 1.0}, 0.0, 0.01 * 1000 ** (1 / 8)),
        ({"skew": 3.0, "skew_end": 1.0, "margin": 1.0}, 0.5, 0.01 * 1000 ** (1 / 4)),
        ({"skew": 3.0, "skew_end": 1.0, "margin": 1.0}, 1.0, 0.01 * 1000 ** (1 / 2)),
        ({"u_shape": (0.5, 0.5), "margin": 1.0}, 0.0, 0.01 * 1000 ** (1 / 2)),
        ({"u_shape": (1.0, 2.0), "margin": 1.0}, 0.0, 0.01 * 1000 ** (1 - 2**-0.5)),
    ],
)
def test_densities_have_their_known_medians(chosen, progress, median):
    source = torch.Generator().manual_seed(0)
    drawn = recipe.draw_betas(Trial(**chosen), 4001, source, progress)
    assert drawn.dtype == torch.float32
    assert float(drawn.median()) == pytest.approx(median, rel=0.01)
    assert float(drawn.min()) >= 0.01 * (1 - 1e-6)
    assert float(drawn.max()) <= 10 * (1 + 1e-6)


def test_the_arcsine_density_has_its_known_quantiles():
    levels = torch.linspace(0.01, 0.99, 25, dtype=torch.float64)
    found = candidates.u_shaped_quantile(levels, (0.5, 0.5))
    torch.testing.assert_close(found, torch.sin(math.pi / 2 * levels).square())


def test_a_mixture_has_its_share_of_uniform_positions():
    unit = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = candidates.mixed_quantile(unit, 0.2, 4.0)
    expected = 0.2 * 0.3 + 0.8 * 0.3**0.25
    assert float((drawn < 0.3).double().mean()) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_weights_of_the_loss_average_to_one_and_fall_as_asked(exponent):
    beta = BetaRange().sample(128, generator=torch.Generator().manual_seed(0))
    weights = candidates.loss_weights(beta, exponent)
    assert float(weights.mean()) == pytest.approx(1)
    torch.testing.assert_close(weights[0] / weights[1], ((1 + beta[1]) / (1 + beta[0])) ** exponent)


def row(objective, seed=0, note="", **chosen):
    made = Trial(seed=seed, **chosen)
    betas = [made.beta] if made.beta is not None else [0.01, 0.1, 1.0, 10.0, 20.0]
    each = [objective] if made.beta is not None else objective
    split = {"objective": each, "rate": each}
    return {"note": note, "trial": made.to_options(), "betas": betas, "validation": split, "test": split, "seconds": 1}


def test_gaps_are_to_the_best_dedicated_run_of_the_same_setting_over_seeds():
    rows = [
        row(50.0, beta=0.01),
        row(52.0, beta=0.01, seed=1),
        row(50.5, beta=0.01, learning_rate=4e-3),
        row(51.0, beta=0.01, learning_rate=4e-3, seed=1),
        row(10.0, beta=0.01, epochs=32),
        row(10.0, beta=0.01, initial_weights="torch"),
        row(10.0, beta=0.01, decay="cosine"),
        row(180.0, beta=10.0),
        row([55.0, 60.0, 100.0, 181.0, 300.0], note="x"),
        row([53.0, 60.0, 100.0, 178.0, 300.0], seed=1),
        row([53.0, 60.0, 100.0, 178.0, 300.0], note="long", epochs=32),
    ]
    short, long = table.gaps(rows)
    assert short.gap == {0.01: pytest.approx(54 - 50.75), 10.0: pytest.approx(-0.5)}
    assert (short.mean, short.worst) == (pytest.approx(1.375), pytest.approx(3.25))
    assert (short.note, short.seeds, short.dedicated_seeds) == ("x", 2, 1)
    assert long.gap == {0.01: 43.0}
    assert table.gaps(rows, dedicated_epochs=8)[1].gap == {0.01: pytest.approx(2.25), 10.0: pytest.approx(-2.0)}
    shown = table.markdown([short]).splitlines()[-1]
    assert shown == "| x |  | +3.25 | n/a | n/a | -0.50 | +1.38 | +3.25 | 2 of 5 | 2 | 1 |"


def test_the_step_size_of_dedicated_runs_is_chosen_on_the_validation_split():
    good, lucky = row(50.0, beta=0.01), row(51.0, beta=0.01, learning_rate=4e-3)
    lucky["test"] = {"objective": [40.0], "rate": [1.0]}
    (found,) = table.best_dedicated([good, lucky]).values()
    assert (found.objective, found.learning_rate) == (50.0, 2e-3)


def test_the_command_appends_one_row_a_trial_and_skips_what_is_there(tmp_path, capsys):
    asked, to = tmp_path / "trials.yaml", tmp_path / "folder" / "trials.jsonl"
    asked.write_text(
        "- {note: a, data: digits, examples: 130, epochs: 1, latents: 2, learning_rate: 3e-3}\n"
        "- {note: b, data: digits, examples: 130, epochs: 1, latents: 2, beta: 1}\n"
    )
    assert trial.main([str(asked), "--table", str(to)]) == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in first] == ["a", "b"]
    assert trial.main([str(asked), "--table", str(to)]) == 0
    assert all("already" in line for line in capsys.readouterr().out.splitlines())
    rows = [json.loads(line) for line in to.read_text().splitlines()]
    assert [r["note"] for r in rows] == ["a", "b"]
    assert rows[0]["trial"]["learning_rate"] == 3e-3
    table.main(["--table", str(to)])
    assert "| a | latents 2, data digits" in capsys.readouterr().out


@pytest.mark.parametrize(
    "chosen",
    [
        {"power": 2},
        {"gates": "wide"},
        {"degree": 0},
        {"u_shape": [1, 1], "skew_end": 2},
        {"low": "x"},
        {"growth": [1, 0.5], "uniform_share": 0.2},
        {"growth": [1, 0]},
        {"specialists": [0, 1]},
        {"partition": [0.5, 0, 1, 1], "sharpness": 4},
        {"step_factors": ["decoder.0"]},
    ],
)
def test_options_that_cannot_be_right_are_refused(chosen):
    with pytest.raises(UsageError):
        Trial.from_options(chosen)


def test_the_excess_of_a_linear_trial_is_not_below_its_optimum():
    asked = Trial(model="linear", gates="none", **{**SMALL, "epochs": 2, "examples": None})
    above = linear.excess(asked, recipe.trained(asked))
    assert len(above) == 20
    assert min(above.values()) > 0
    with pytest.raises(UsageError, match="model linear"):
        linear.excess(Trial(), built())


class Quadratic(torch.nn.Module):
    """Distortion (w - x)^2 / 2 and no rate: the gradient is w - x."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))
        self.base = self

    def terms(self, x):
        return Terms(torch.zeros(len(x)), 0.5 * (self.w - x).square()[:, 0])


def test_gradient_statistics_are_those_of_a_known_gradient():
    x = 2.0 + torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    found = gradients.gradient_statistics(Quadratic(), x, [0.1, 1.0], batches=100, batch_size=16)
    assert found.squared_mean == pytest.approx([4.0, 4.0], rel=0.05)
    assert found.variance == pytest.approx([1 / 16, 1 / 16], rel=0.4)
    assert found.posterior_variance == pytest.approx([0.0, 0.0], abs=1e-4)
    torch.testing.assert_close(found.cosines, torch.ones(2, 2))


class Noisy(Quadratic):
    """The same with unit Gaussian noise on each example's gradient."""

    def terms(self, x):
        return Terms(torch.zeros(len(x)), 0.5 * (self.w - x - torch.randn_like(x)).square()[:, 0])


def test_the_posteriors_part_of_the_noise_is_that_of_one_batch_of_examples():
    x = 2.0 + torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    found = gradients.gradient_statistics(Noisy(), x, [1.0], batches=400, batch_size=16)
    assert found.variance == pytest.approx([2 / 16], rel=0.25)
    assert found.posterior_variance == pytest.approx([1 / 16], rel=0.25)
