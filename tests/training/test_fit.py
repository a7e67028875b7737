import copy
import json
import math
import signal
import subprocess
import sys
import threading
import warnings

import pytest
import torch
from torch import nn

import multirate as mr
from multirate.data.source import TensorSource
from multirate.errors import DataError, TrainingError, UsageError
from multirate.models import linear, mlp
from multirate.seeding import seeded
from multirate.terms import Terms
from multirate.training import TrainConfig, fit
from multirate.training.schedules import kl_weight

FAST = {"epochs": 3, "batch_size": 32, "log_every": 2, "progress": False}
KINDS = ["plain", "multirate"]


class Normalised(nn.Module):
    """A VAE of one latent with BatchNorm, whose statistics are a state that is no parameter."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        self.decoder = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 16))

    def terms(self, x):
        mean = self.encoder(x)
        z = mean + torch.randn_like(mean)
        return Terms(0.5 * mean.square().sum(1), 0.5 * (self.decoder(z) - x.flatten(1)).square().sum(1))


def data(n=100):
    return (torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def make(kind="plain"):
    with seeded(0):
        if kind == "batchnorm":
            return Normalised()
        base = mlp(shape=(1, 4, 4), latents=3, hidden=(8,))
    return base if kind == "plain" else mr.convert(base, mr.BetaRange(0.01, 10.0))


def equal(a, b):
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "cpu_seconds")} for line in lines]


class Interrupting(TensorSource):
    """Raises at one call of ``batch``, as a run that is killed in that step."""

    def __init__(self, x, at, error):
        super().__init__(x, name="data", split="train", likelihood="bernoulli", details={"scale": 1.0})
        self.at, self.error, self.calls = at, error, 0

    def batch(self, indices):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return super().batch(indices)


class Constant(nn.Module):
    """Rate and distortion are given numbers, times one weight."""

    def __init__(self, rate=2.0, distortion=3.0, bad_after=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.rate, self.distortion, self.bad_after, self.calls = rate, distortion, bad_after, 0

    def terms(self, x):
        self.calls += 1
        bad = float("nan") if self.bad_after is not None and self.calls > self.bad_after else 1.0
        ones = x.new_ones(x.shape[0]) * self.weight
        return Terms(self.rate * ones, self.distortion * ones * bad)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind):
    run = fit(make(kind), data().round() * 0, **{**FAST, "epochs": 30, "learning_rate": 0.01})
    assert run.history[-1]["loss"] < 0.6 * run.history[0]["loss"]
    assert run.history[-1].keys() >= {"step", "epoch", "loss", "rate", "distortion", "seconds", "cpu_seconds"}
    assert run.seconds > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_weights_and_another_one_others(kind):
    runs = [fit(make(kind), data(), seed=seed, **FAST) for seed in (0, 0, 1)]
    assert equal(runs[0].model, runs[1].model)
    assert not equal(runs[0].model, runs[2].model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_global_generator_is_left_alone_and_not_used(kind):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = fit(make(kind), data(), **FAST).model
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert equal(fit(make(kind), data(), **FAST).model, first)


@pytest.mark.parametrize("kind", [*KINDS, "batchnorm"])
@pytest.mark.parametrize("every", [None, 2, 5])
def test_a_run_that_was_killed_and_resumed_is_equal_bit_for_bit(tmp_path, kind, every):
    options = {**FAST, "checkpoint_every": every, "val": data(10)}
    whole = fit(make(kind), data(), out=tmp_path / "whole", **options)
    with pytest.raises(RuntimeError, match="killed"):
        fit(make(kind), Interrupting(data(), 8, RuntimeError("killed")), out=tmp_path / "cut", **options)
    resumed = fit(make(kind), data(), out=tmp_path / "cut", resume=True, **options)
    assert equal(whole.model, resumed.model)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")
    assert len(resumed.history) == len(whole.history)
    assert len(resumed.validation) == len(whole.validation)


def test_an_interrupt_saves_the_step_and_says_how_to_go_on(tmp_path):
    whole = fit(make(), data(), out=tmp_path / "whole", **FAST)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 4 of 9; go on with --resume"):
        fit(make(), Interrupting(data(), 5, KeyboardInterrupt()), out=tmp_path / "cut", **FAST)
    resumed = fit(make(), data(), out=tmp_path / "cut", resume=True, **FAST)
    assert equal(whole.model, resumed.model)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_a_signal_lets_the_step_end(tmp_path):
    class Signalling(Interrupting):
        def batch(self, indices):
            self.calls += 1
            if self.calls == self.at:
                signal.raise_signal(signal.SIGINT)
            return TensorSource.batch(self, indices)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 5 of 9"):
        fit(make(), Signalling(data(), 5, None), out=tmp_path, **FAST)


def test_a_second_interrupt_in_the_middle_of_a_step_writes_nothing(tmp_path):
    class Twice(Constant):
        def terms(self, x):
            if self.calls == 4:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return super().terms(x)

    with pytest.raises(KeyboardInterrupt):
        fit(Twice(), data(), out=tmp_path, **FAST)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-000000000.pt",
        "step-000000003.pt",
    ]


def test_training_works_outside_the_main_thread():
    runs = []
    thread = threading.Thread(target=lambda: runs.append(fit(make(), data(), **FAST)))
    thread.start()
    thread.join()
    assert equal(runs[0].model, fit(make(), data(), **FAST).model)


def test_a_run_that_died_before_its_first_checkpoint_starts_again_from_its_own_weights(tmp_path):
    whole = fit(make(), data(), **FAST)
    with pytest.raises(RuntimeError):
        fit(make(), Interrupting(data(), 1, RuntimeError()), out=tmp_path, **FAST)
    other = mlp(shape=(1, 4, 4), latents=3, hidden=(8,))
    assert equal(fit(other, data(), out=tmp_path, resume=True, **FAST).model, whole.model)


def test_a_finished_run_is_returned_as_it_is(tmp_path):
    first = fit(make(), data(), out=tmp_path, **FAST)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = fit(make(), data(), out=tmp_path, resume=True, **FAST)
    assert equal(first.model, again.model)
    assert again.history == first.history
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_resume_in_an_empty_folder_starts_a_run(tmp_path):
    assert equal(fit(make(), data(), out=tmp_path, resume=True, **FAST).model, fit(make(), data(), **FAST).model)


def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path):
    fit(make(), data(), out=tmp_path, **FAST)
    with pytest.raises(UsageError, match="--resume"):
        fit(make(), data(), out=tmp_path, **FAST)


@pytest.mark.parametrize(
    ("model", "options", "field"),
    [
        ("plain", {"seed": 3}, "training.seed"),
        ("plain", {"epochs": 4}, "training.epochs"),
        ("multirate", {}, "model.parameters"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, model, options, field):
    fit(make(), data(), out=tmp_path, **FAST)
    with pytest.raises(TrainingError, match=field):
        fit(make(model), data(), out=tmp_path, resume=True, **{**FAST, **options})


def test_other_data_are_not_resumed_on(tmp_path):
    fit(make(), data(), out=tmp_path, **FAST)
    with pytest.raises(TrainingError, match=r"data\.examples was 100 and is now 90"):
        fit(make(), data(90), out=tmp_path, resume=True, **FAST)


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path):
    fit(make(), data(), out=tmp_path, **FAST)
    path = max((tmp_path / "checkpoints").iterdir())
    state = torch.load(path, weights_only=True)
    state["model"].popitem()
    torch.save(state, path)
    with pytest.raises(TrainingError, match="does not fit this model"):
        fit(make(), data(), out=tmp_path, resume=True, **FAST)


@pytest.mark.parametrize("log_every", [1, 2, 50])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, log_every):
    with pytest.raises(TrainingError, match=r"the loss is nan at step 5 \(beta 1\).*lower learning_rate.*checkpoint"):
        fit(Constant(bad_after=4), data(), out=tmp_path, **{**FAST, "log_every": log_every})
    state = torch.load(max((tmp_path / "checkpoints").iterdir()), weights_only=True)
    assert state["step"] == 3
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path):
    class Diverging(Constant):
        def terms(self, x):
            with torch.no_grad():
                self.frozen.fill_(float("inf") if self.calls == 4 else 1.0)
            return super().terms(x)

    with pytest.raises(TrainingError, match="frozen is not finite after step 5"):
        fit(Diverging(), data(), out=tmp_path, **{**FAST, "checkpoint_every": 5})


def test_frozen_parameters_stay():
    model = make()
    model.encoder.requires_grad_(False)
    before = copy.deepcopy(model)
    fit(model, data(), **FAST)
    assert equal(model.encoder, before.encoder)
    assert not equal(model.decoder, before.decoder)


def test_nothing_to_train_is_refused():
    with pytest.raises(UsageError, match="frozen"):
        fit(make().requires_grad_(False), data(), **FAST)


def test_a_frozen_base_leaves_the_response_to_train():
    model = make("multirate")
    model.base.requires_grad_(False)
    before = copy.deepcopy(model)
    fit(model, data(), **FAST)
    assert equal(model.base, before.base)
    assert not equal(model.response, before.response)


def test_the_loss_is_distortion_plus_beta_rate():
    run = fit(Constant(), data(), **{**FAST, "learning_rate": 1e-12, "beta": 4.0})
    assert run.history[0]["loss"] == pytest.approx(3 + 4 * 2)
    assert run.history[0]["rate"] == pytest.approx(2)
    assert run.history[0]["distortion"] == pytest.approx(3)


@pytest.mark.parametrize("schedule", ["linear", "cyclical"])
def test_kl_schedules_weigh_the_rate_as_documented(schedule):
    options = {"learning_rate": 1e-12, "beta": 4.0, "kl_schedule": schedule, "log_every": 1, "kl_cycles": 2}
    run = fit(Constant(), data(), **{**FAST, **options})
    config = TrainConfig(kl_schedule=schedule, kl_cycles=2)
    expected = [3 + 4 * kl_weight(step, 9, config) * 2 for step in range(9)]
    assert [line["loss"] for line in run.history] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("skew", "margin"), [(1.0, 1.0), (1.7, 1.35)])
def test_a_multirate_step_covers_the_range_with_one_beta_an_example(monkeypatch, skew, margin):
    seen = []
    model = mr.convert(make(), mr.BetaRange(0.01, 10.0, skew=skew, margin=margin))
    gates = model.gates
    monkeypatch.setattr(model, "gates", lambda beta: (seen.append(beta.double()), gates(beta))[1])
    fit(model, data(), **FAST)
    assert len(seen) == 9
    for beta in seen:
        place = (beta / 0.01).log() / math.log(1000.0 * margin)
        strata = (32 * place.clamp(min=0) ** (1 / skew)).floor()
        assert sorted(strata.clamp(0, 31).tolist()) == list(range(32))


def test_each_epoch_sees_every_example_at_most_once_in_a_new_order():
    orders = []

    class Watching(TensorSource):
        def batch(self, indices):
            orders.append(indices.tolist())
            return super().batch(indices)

    fit(make(), Watching(data(), name="data", split="train", likelihood="bernoulli"), **FAST)
    epochs = [orders[3 * i] + orders[3 * i + 1] + orders[3 * i + 2] for i in range(3)]
    assert all(len(epoch) == len(set(epoch)) == 96 for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_data_of_less_than_a_batch_are_one_batch():
    run = fit(make(), data(10), **FAST)
    assert run.history[-1]["step"] == 3


def test_history_lines_average_over_all_steps():
    every = fit(make(), data(), **{**FAST, "log_every": 1}).history
    coarse = fit(make(), data(), **{**FAST, "log_every": 4}).history
    assert [line["step"] for line in coarse] == [4, 8, 9]
    assert coarse[0]["loss"] == pytest.approx(sum(line["loss"] for line in every[:4]) / 4, rel=1e-6)
    assert [line["epoch"] for line in every] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(("kind", "betas"), [("plain", [1.0]), ("multirate", [0.01, 0.1, 1.0, 10.0])])
def test_validation_is_measured_each_epoch_and_changes_nothing(kind, betas):
    run = fit(make(kind), data(), val=data(40), **FAST)
    assert [line["epoch"] for line in run.validation] == [epoch for epoch in (1, 2, 3) for _ in betas]
    assert [line["beta"] for line in run.validation[: len(betas)]] == pytest.approx(betas)
    for line in run.validation:
        assert line["objective"] == pytest.approx(line["distortion"] + line["beta"] * line["rate"])
    assert equal(run.model, fit(make(kind), data(), **FAST).model)


@pytest.mark.parametrize("training", [True, False])
def test_the_training_flag_is_left_as_found(training):
    assert fit(make().train(training), data(), **FAST).model.training is training


def test_the_run_folder_holds_what_it_should(tmp_path):
    model = make("multirate")
    run = fit(model, data(), out=tmp_path, record={"command": "train --data x"}, **FAST)
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "metrics.jsonl", "checkpoints", "model"}
    assert run.folder == tmp_path
    text = (tmp_path / "config.yaml").read_text()
    for word in ("seed: 0", "torch:", "command: train --data x", "steps: 9", "beta_range:", "examples: 100"):
        assert word in text
    assert equal(mr.load(tmp_path / "model"), model)


def test_an_entry_of_the_record_cannot_replace_one_of_ours(tmp_path):
    with pytest.raises(UsageError, match="'data'"):
        fit(make(), data(), out=tmp_path, record={"data": 1}, **FAST)


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"no option 'lr'.*learning_rate"):
        fit(make(), data(), lr=1e-3)


def test_options_take_the_place_of_the_configs():
    run = fit(make(), data(), config=TrainConfig(epochs=7, batch_size=50), epochs=1, progress=False)
    assert (run.config.epochs, run.config.batch_size) == (1, 50)


def test_a_module_without_terms_is_refused():
    with pytest.raises(UsageError, match="Linear has no terms"):
        fit(nn.Linear(2, 2), data(), **FAST)


def test_a_double_model_trains_in_double():
    model = fit(make().double(), data(), **FAST).model
    assert next(model.parameters()).dtype == torch.float64


@pytest.mark.parametrize("clip_norm", [None, 1e-3, 1e6])
def test_clipping_bounds_the_norm_of_all_gradients_together(monkeypatch, clip_norm):
    seen = {}
    step = torch.optim.Adam.step

    def watched(self, *arguments, **keywords):
        gradients = [p.grad.double() for group in self.param_groups for p in group["params"]]
        seen.setdefault(clip_now, []).append(torch.cat([g.flatten() for g in gradients]).norm().item())
        return step(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    for clip_now in (None, clip_norm):
        fit(make("multirate"), data(), clip_norm=clip_now, **{**FAST, "epochs": 1})
    assert min(seen[None]) > 1e-3
    expected = seen[None][:3] if clip_norm != 1e-3 else [1e-3] * 3
    assert seen[clip_norm][:3] == pytest.approx(expected, rel=1e-2)


def test_one_process_may_train_at_several_precisions():
    fit(make(), data(), precision="bf16", device="cpu", **FAST)
    assert equal(fit(make(), data(), device="cpu", **FAST).model, fit(make(), data(), **FAST).model)


def test_a_run_that_is_stopped_before_it_begins_leaves_no_choice_of_device_behind(monkeypatch):
    import accelerate
    from accelerate.state import AcceleratorState, PartialState

    def stopped(**options):
        PartialState(cpu=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(accelerate, "Accelerator", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), data(), device="cpu", **FAST)
    assert PartialState._shared_state == AcceleratorState._shared_state == {}


def test_an_unknown_device_is_refused():
    with pytest.raises(UsageError, match="warp"):
        fit(make(), data(), device="warp", **FAST)


def test_progress_outside_a_terminal_is_a_line_an_epoch_on_standard_error(capsys):
    fit(make(), data(), **{**FAST, "progress": True})
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]
    assert all(word in lines[0] for word in ("loss", "rate", "distortion"))


def test_channels_last_changes_nothing_but_rounding():
    class Convolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 4, 3)

        def terms(self, x):
            features = self.layer(x).flatten(1)
            return Terms(features.square().sum(1), (features - 1).square().sum(1))

    models = [Convolution(), Convolution()]
    models[1].load_state_dict(models[0].state_dict())
    for model, channels_last in zip(models, (False, True), strict=True):
        fit(model, data(), channels_last=channels_last, **FAST)
    assert models[0].layer.weight.allclose(models[1].layer.weight, atol=1e-5)


def test_a_recurrent_model_takes_one_beta_a_batch():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.GRU(4, 3, batch_first=True)
            self.decoder = nn.Linear(3, 4)

        def terms(self, x):
            last = self.encoder(x.squeeze(1))[1][-1]
            return Terms(last.square().sum(1), (self.decoder(last) - x[:, 0, 0]).square().sum(1))

    run = fit(mr.convert(Recurrent(), mr.BetaRange(0.1, 10.0)), data(), **FAST)
    assert run.history[-1]["step"] == 9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # from inside torch's own compiler
@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_run_follows_the_plain_one(kind):
    losses = [
        [line["loss"] for line in fit(make(kind), data(), compile=compiled, **{**FAST, "log_every": 1}).history]
        for compiled in (False, True)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_a_linear_vae_reaches_the_optimum_of_the_theory(beta):
    with seeded(0):
        mixing = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
        x = torch.randn(2048, 5, dtype=torch.float64) * torch.tensor([9.0, 4.0, 1.0, 0.25, 0.1]).sqrt() @ mixing
        model = linear(shape=(5,), latents=2)
    x = x - x.mean(0)
    covariance = x.T @ x / len(x)
    fit(model, x, beta=beta, epochs=50, batch_size=128, learning_rate=0.02, progress=False)
    parameters = [value.double() for value in model.effective_parameters()]
    rate, distortion = mr.theory.linear_terms(*parameters, covariance)
    excess = (distortion + beta * rate - mr.theory.LinearVAE(covariance, 2).objective(beta)).item()
    assert 0 <= excess < 0.02


@pytest.mark.slow
def test_two_processes_give_one_model(tmp_path):
    script = """
import os, sys
from pathlib import Path
import torch, multirate as mr
from multirate.training import fit
torch.manual_seed(0)
model = mr.convert(mr.models.mlp(shape=(1, 4, 4), latents=3, hidden=(8,)))
x = torch.rand(100, 1, 4, 4).round()
run = fit(model, x, out=sys.argv[1], epochs=2, batch_size=32, log_every=2, device="cpu", progress=False)
total = sum(p.double().sum().item() for p in model.parameters())
Path(sys.argv[1], "total-" + os.environ["RANK"]).write_text(total.hex())
"""
    path = tmp_path / "train.py"
    path.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(path)]
    done = subprocess.run([*command, str(tmp_path / "run")], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "total-0").read_text() == (tmp_path / "run" / "total-1").read_text()
    assert [line["step"] for line in metrics(tmp_path / "run")] == [2, 4, 6]


@pytest.mark.parametrize("missing", [("model.json",), ("model.json", "model.safetensors")])
def test_a_run_killed_while_its_model_was_written_is_completed_by_resume(tmp_path, missing):
    model = fit(make("multirate"), data(), out=tmp_path, **FAST).model
    for name in missing:
        (tmp_path / "model" / name).unlink()
    with pytest.raises(DataError, match=r"is not finished: train with --resume \(resume=True\) to complete it"):
        mr.load(tmp_path / "model")
    fit(make("multirate"), data(), out=tmp_path, resume=True, **FAST)
    assert equal(mr.load(tmp_path / "model"), model)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path):
    whole = fit(make(), data(), out=tmp_path / "whole", **FAST)
    with pytest.raises(RuntimeError, match="killed"):
        fit(make(), Interrupting(data(), 8, RuntimeError("killed")), out=tmp_path / "cut", **FAST)
    newest = max((tmp_path / "cut" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"step-000000006.pt, it is damaged; going on from the one before, step 3"):
        resumed = fit(make(), data(), out=tmp_path / "cut", resume=True, **FAST)
    assert equal(whole.model, resumed.model)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_a_run_without_a_readable_checkpoint_is_refused_and_one_without_any_starts_again(tmp_path):
    whole = fit(make(), data(), out=tmp_path, **FAST)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"step-000000009\.pt, it is damaged"):
        fit(make(), data(), out=tmp_path, resume=True, **FAST)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    with pytest.warns(UserWarning, match="holds no checkpoint; starting again from step 0"):
        again = fit(make(), data(), out=tmp_path, resume=True, **FAST)
    assert equal(whole.model, again.model)


@pytest.mark.parametrize("schedule", ["linear", "cyclical"])
def test_a_multirate_model_takes_no_kl_schedule(schedule):
    with pytest.raises(UsageError, match=f"kl_schedule '{schedule}' is for a plain VAE"):
        fit(make("multirate"), data(), kl_schedule=schedule, **FAST)


@pytest.mark.parametrize("kind", KINDS)
def test_data_far_from_unit_variance_are_warned_of(kind):
    model = linear(shape=(1, 4, 4), latents=2)
    model = model if kind == "plain" else mr.convert(model, mr.BetaRange(0.1, 10.0))
    with pytest.warns(UserWarning, match=r"values from 0 to 200.*such as by scale=200"):
        fit(model, data() * 200, **FAST)


def test_data_of_a_good_scale_are_not_warned_of():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(linear(shape=(1, 4, 4), latents=2), data() * 4 - 2, **FAST)
    assert not caught


def test_a_loss_that_is_not_finite_names_the_values_of_its_batch():
    with pytest.raises(TrainingError, match=r"on a batch with values from 0 to 100, so .*divide the data by a scale"):
        fit(Constant(bad_after=4), data() * 100, **FAST)
    with pytest.raises(TrainingError, match=r"values from 0 to 1, so the run cannot go on: lower learning_rate"):
        fit(Constant(bad_after=4), data(), **FAST)
