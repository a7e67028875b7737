"""The callback that measures curves inside a LightningModule, with both copies of the library."""

import csv
import importlib
import importlib.util
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import multirate as mr
from multirate.errors import UsageError
from multirate.seeding import generator, preserved_rng, seeded

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
if importlib.util.find_spec("lightning") is None:
    pytest.skip("lightning is not installed: pip install 'multirate[lightning]'", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX` has been removed"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*"),
]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "lightning_module.py"
BETAS = (0.02, 0.5, 8.0)


@pytest.fixture(scope="module", params=PACKAGES)
def library(request):
    """One copy of Lightning, and the callback."""
    if importlib.util.find_spec(request.param.partition(".")[0]) is None:
        pytest.skip(f"{request.param} is not installed")
    with preserved_rng():
        return importlib.import_module(request.param)


@pytest.fixture(scope="module")
def both():
    """The callback's module, when Lightning is there."""
    return importlib.import_module("multirate.integrations.lightning")


def digits(split="train", count=128):
    return mr.data.load("digits", split).batch(torch.arange(count))


def module_of(library):
    """A LightningModule that holds a multi-rate VAE, with keyed draws, so that nothing else decides its weights."""

    class Module(library.LightningModule):
        def __init__(self):
            super().__init__()
            with seeded(0):
                vae = mr.models.mlp(shape=(1, 8, 8), latents=3, hidden=(16,))
            self.vae = mr.convert(vae, mr.BetaRange(0.01, 10.0))

        def training_step(self, batch, batch_idx):
            beta = self.vae.beta_range.sample(len(batch[0]), generator(0, "beta", self.global_step))
            with seeded(0, "noise", self.global_step):
                terms = self.vae.terms(batch[0], beta=beta)
            loss = mr.objectives.beta_vae(terms, beta).mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("validation", self.vae.terms(batch[0], beta=1.0).distortion.mean())

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=2e-3)

    return Module()


def train(
    library, folder, *callbacks, epochs=2, module=None, validation=False, shuffle=False, ckpt_path=None, **options
):
    """Train a module; return it and its trainer."""
    module = module or module_of(library)
    trainer = library.Trainer(
        **{
            "max_epochs": epochs,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            "callbacks": list(callbacks),
            "log_every_n_steps": 1,
        }
        | options
    )
    loader = DataLoader(TensorDataset(digits()), batch_size=64, shuffle=shuffle)
    with preserved_rng():
        torch.manual_seed(7)
        safe = {} if ckpt_path is None else {"ckpt_path": ckpt_path, "weights_only": True}
        trainer.fit(module, loader, loader if validation else None, **safe)
    return module, trainer


@pytest.mark.slow
def test_the_curve_is_that_of_the_trained_model(library, both, tmp_path):
    callback = both.CurveCallback(digits("test"), BETAS)
    module, trainer = train(library, tmp_path, callback)
    truth = mr.evaluate(module.vae, digits("test"), BETAS, measures=(), progress=False)
    assert callback.curve.points == truth.points
    assert list(callback.curves) == [1, 2]
    assert mr.Curve.load(tmp_path / "curve.json") == callback.curve
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("curve/")}
    expected = {f"curve/{name}": truth.values(name).mean() for name in ("rate", "distortion", "objective")}
    for point in truth.points:
        expected |= {f"curve/beta_{point['beta']:g}/{name}": point[name] for name in ("rate", "distortion")}
    assert logged == pytest.approx(expected, rel=1e-6)


def test_the_callback_is_one_of_the_copies_that_are_imported(both, monkeypatch):
    classes = [importlib.import_module(name).Callback for name in PACKAGES]
    assert issubclass(both.CurveCallback, tuple(classes))
    assert issubclass(both._callback_class(), classes[0])
    assert issubclass(both._callback_class(), classes[1])
    monkeypatch.delitem(sys.modules, PACKAGES[0])
    assert both._callback_class() is classes[1]


def test_without_lightning_the_error_names_the_extra(both, monkeypatch):
    monkeypatch.setattr(both, "_PACKAGES", ("no_lightning.pytorch", "no_pytorch_lightning"))
    with pytest.raises(UsageError, match=r"needs no_lightning, .* pip install 'multirate\[lightning\]'"):
        both._callback_class()


@pytest.mark.slow
@pytest.mark.parametrize(("every", "epochs", "measured"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (9, 2, [2])])
def test_epochs_are_measured_as_asked_and_always_the_last(library, both, tmp_path, every, epochs, measured):
    callback = both.CurveCallback(digits("test", 20), BETAS, every_n_epochs=every, figure=False)
    train(library, tmp_path, callback, epochs=epochs)
    assert list(callback.curves) == measured
    assert not (tmp_path / "curve.png").exists()


def test_training_goes_on_as_if_nothing_had_been_measured(library, both, tmp_path):
    """With the data in an order that the global generator decides."""
    alone, _ = train(library, tmp_path, shuffle=True)
    measured, _ = train(
        library, tmp_path, both.CurveCallback(digits("test"), BETAS, samples=2, figure=False), shuffle=True
    )
    for name, value in alone.state_dict().items():
        assert torch.equal(value, measured.state_dict()[name]), name


@pytest.mark.slow
def test_modes_and_generators_are_as_they_were(library, both, tmp_path):
    module, callback = module_of(library).train(), both.CurveCallback(digits("test", 20), BETAS)
    module.frozen = nn.BatchNorm1d(2).eval()
    trainer = SimpleNamespace(
        current_epoch=0,
        max_epochs=1,
        is_global_zero=True,
        strategy=SimpleNamespace(broadcast=lambda value: value),
        log_dir=str(tmp_path),
        loggers=[],
    )
    module.log_dict = lambda *a, **k: None
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002  # others use it
    callback.on_train_epoch_end(trainer, module)
    assert (module.vae.training, module.vae.base.training, module.frozen.training) == (True, True, False)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002


@pytest.mark.slow
def test_only_the_first_process_measures_and_writes_and_all_log(both, tmp_path, monkeypatch):
    """Of two processes: the second gets what the first has measured."""
    vae = mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=3, hidden=(16,)), mr.BetaRange(0.01, 10.0))
    sent, logged = [], []
    module = nn.Module()
    module.vae, module.log_dict = vae, lambda values, **options: logged.append((values, options))
    for first in (True, False):
        if not first:
            monkeypatch.setattr(both, "evaluate", lambda *a, **k: pytest.fail("measured twice"))
        broadcast = (lambda value: sent.append(value) or value) if first else (lambda value: sent[0])
        folder = tmp_path / str(first)
        trainer = SimpleNamespace(
            current_epoch=0,
            max_epochs=1,
            is_global_zero=first,
            strategy=SimpleNamespace(broadcast=broadcast),
            log_dir=str(folder),
            loggers=[],
        )
        callback = both.CurveCallback(digits("test", 20), BETAS)
        callback.on_train_epoch_end(trainer, module)
        assert callback.curve.points == tuple(sent[0]["points"])
        assert folder.exists() == first
    assert logged[0] == logged[1]
    assert logged[0][1]["sync_dist"]


def test_the_sanity_check_measures_nothing(library, both, tmp_path, monkeypatch):
    epochs = []
    measure = both.evaluate
    monkeypatch.setattr(
        both, "evaluate", lambda *a, **k: epochs.append(trainers[0].sanity_checking) or measure(*a, **k)
    )
    trainers = []
    callback = both.CurveCallback(digits("test", 20), BETAS, figure=False)
    monkeypatch.setattr(callback, "setup", lambda trainer, *a, **k: trainers.append(trainer))
    train(library, tmp_path, callback, validation=True, num_sanity_val_steps=2)
    assert epochs == [False, False]


@pytest.mark.slow
def test_a_csv_logger_gets_a_row_an_epoch_and_its_folder_the_curve(library, both, tmp_path):
    logger = importlib.import_module(f"{library.__name__}.loggers").CSVLogger(tmp_path, name="", version="")
    callback = both.CurveCallback(digits("test", 20), BETAS)
    train(library, tmp_path, callback, logger=logger)
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["curve/beta_0.5/rate"]]
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    rates = [curve.values("rate")[1] for curve in callback.curves.values()]
    assert [float(row["curve/beta_0.5/rate"]) for row in rows] == pytest.approx(rates, rel=1e-6)
    assert mr.Curve.load(tmp_path / "curve.json") == callback.curve


@pytest.mark.slow
def test_tensorboard_gets_scalars_and_a_figure(library, both, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = importlib.import_module(f"{library.__name__}.loggers").TensorBoardLogger(tmp_path, name="", version="")
    callback = both.CurveCallback(digits("test", 20), BETAS)
    train(library, tmp_path, callback, logger=logger)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    scalars = [event.value for event in events.Scalars("curve/objective")]
    truth = [float(curve.values("objective").mean()) for curve in callback.curves.values()]
    assert scalars == pytest.approx(truth, rel=1e-6)
    assert [image.step for image in events.Images("curve")] == [2, 4]


def test_a_logger_of_pictures_gets_one(both, tmp_path):
    shown = []
    logger = SimpleNamespace(log_image=lambda key, images, step: shown.append((key, images[0].size, step)))
    curve = mr.evaluate(module_of_any(), digits("test", 20), BETAS, progress=False)
    callback = both.CurveCallback(digits("test", 20), name="test")
    callback.curves[1] = curve
    callback._write(SimpleNamespace(loggers=[logger], global_step=9), tmp_path, curve)
    ((name, size, step),) = shown
    assert (name, step) == ("test", 9)
    assert min(size) > 500


def module_of_any():
    with seeded(0):
        return mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=3, hidden=(16,)), mr.BetaRange(0.01, 10.0))


@pytest.mark.slow
def test_a_checkpoint_brings_weights_and_curves_back(library, both, tmp_path):
    checkpoints = importlib.import_module(f"{library.__name__}.callbacks").ModelCheckpoint
    options = {"monitor": "curve/objective", "save_top_k": -1, "filename": "{epoch}"}
    keeper = checkpoints(tmp_path / "kept", **options)
    callback = both.CurveCallback(digits("test"), BETAS, figure=False)
    module, _ = train(library, tmp_path, callback, keeper, enable_checkpointing=True)
    objectives = {n: float(curve.values("objective").mean()) for n, curve in callback.curves.items()}
    assert keeper.best_model_score.item() == pytest.approx(min(objectives.values()), rel=1e-6)

    again = type(module).load_from_checkpoint(tmp_path / "kept" / "epoch=1.ckpt", weights_only=True)
    for name, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name

    first = tmp_path / "kept" / "epoch=0.ckpt"
    resumed = both.CurveCallback(digits("test"), BETAS, figure=False)
    keeper = checkpoints(tmp_path / "kept", **options)
    continued, _ = train(library, tmp_path, resumed, keeper, enable_checkpointing=True, ckpt_path=str(first))
    assert resumed.curves == callback.curves
    assert torch.equal(continued.vae.response.weight, module.vae.response.weight)


def test_several_callbacks_go_together_under_names_of_their_own(library, both, tmp_path):
    test = both.CurveCallback(digits("test", 20), BETAS, name="test", figure=False)
    train_ = both.CurveCallback(digits("train", 20), BETAS, name="train", figure=False)
    _, trainer = train(library, tmp_path, test, train_, epochs=1)
    assert {"test/objective", "train/objective"} <= set(trainer.callback_metrics)
    assert test.state_key != train_.state_key
    assert {path.name for path in tmp_path.glob("*.json")} == {"test.json", "train.json"}


def test_the_multi_rate_model_is_found_where_it_is(both):
    outer, model = nn.Module(), module_of_any()
    outer.part = nn.Sequential(nn.ReLU(), model)
    assert both.find_multirate(outer) is model
    with pytest.raises(
        UsageError, match=r"Sequential holds 0 multi-rate models, none; make one with multirate.convert"
    ):
        both.find_multirate(nn.Sequential(nn.ReLU()))
    outer.other = module_of_any()
    with pytest.raises(UsageError, match=r"holds 2 multi-rate models, 'part.1', 'other'; name one with model="):
        both.find_multirate(outer)
    assert both.find_multirate(outer, "other") is outer.other
    with pytest.raises(UsageError, match=r"Module has no multi-rate model 'vae'; it has 'part.1', 'other'"):
        both.find_multirate(outer, "vae")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs must be at least 1; got 0"),
        ({"name": "a/b"}, "name must be that of a file, without its folder; got 'a/b'"),
        ({"name": ""}, "name must be that of a file"),
    ],
)
def test_wrong_options_name_the_remedy(both, options, message):
    with pytest.raises(UsageError, match=message):
        both.CurveCallback(digits(), **options)


@pytest.mark.slow
def test_the_example_improves_its_curve_from_epoch_to_epoch(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("lightning_module", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with preserved_rng():
        callback = module.main(epochs=5, out=str(tmp_path))
    objectives = [float(callback.curves[n].values("objective").mean()) for n in (1, 3, 5)]
    assert objectives == sorted(objectives, reverse=True)
    assert (tmp_path / "epochs.png").stat().st_size > 10_000
    assert "multi-rate mlp on digits test" in capsys.readouterr().out
