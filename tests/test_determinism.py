"""The same seed gives the same bytes, whatever surrounds the run; and nobody's random generator is touched."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torture.comparing import differences

import multirate as mr
from multirate.experiments.parallel import in_processes
from multirate.models import mlp

ROOT = Path(__file__).resolve().parents[1]
BETAS = (0.02, 0.5, 7.0)
RUN = """
import sys
from pathlib import Path
{before}
import multirate as mr
{after}
import torch
torch.set_num_threads({threads})
out = Path(sys.argv[1])
torch.manual_seed(0)
model = mr.convert(mr.models.mlp((1, 8, 8), latents=8, hidden=(256, 128)))
mr.fit(model, mr.data.load("digits", "train"), epochs=1, batch_size=256, seed=3, out=out, progress=False)
curve = mr.evaluate(model, mr.data.load("digits", "test"), betas=4, measures=("active_units", "decomposition"),
                    progress=False)
curve.save(out / "curve.json")
mr.fold(model, 0.5)
"""
# What surrounds a run: lines before and after the import of multirate, and the environment.
SURROUNDINGS: dict[str, dict[str, str]] = {
    "another hash seed, language and folder": {"PYTHONHASHSEED": "12345", "LC_ALL": "C", "PYTHONUTF8": "0"},
    "other libraries first": {"before": "import torch, sklearn, scipy.stats, matplotlib.pyplot, accelerate, PIL.Image"},
    "other libraries after, in another order": {
        "after": "import PIL.Image, accelerate, matplotlib.pyplot, scipy.stats, sklearn, torch",
        "PYTHONHASHSEED": "7",
    },
}


def process(place: Path, threads: int = 1, before: str = "", after: str = "", **environment: str) -> Path:
    """Train and evaluate in a process of its own, in a folder of its own; return the run's folder."""
    place.mkdir()
    program = RUN.format(before=before, after=after, threads=threads)
    surrounding = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": str(threads), **environment}
    subprocess.run([sys.executable, "-c", program, "run"], cwd=place, env=surrounding, check=True, timeout=300)
    return place / "run"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return process(tmp_path_factory.mktemp("reference") / "here")


@pytest.mark.slow
@pytest.mark.parametrize("surrounding", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_a_run_is_the_same_bytes_in_another_process(
    surrounding: dict[str, str], reference: Path, tmp_path: Path
) -> None:
    assert differences(reference, process(tmp_path / "elsewhere", **surrounding)) == []


@pytest.mark.slow
def test_threads_change_no_more_than_the_order_of_sums(reference: Path, tmp_path: Path) -> None:
    """Two threads split matrix products and sums over the batch, whose rounding training then carries on."""
    found = process(tmp_path / "two", threads=2)
    again = process(tmp_path / "again", threads=2)
    assert differences(found, again) == []  # as many threads, the same bytes
    ours, theirs = (load_file(place / "model" / "model.safetensors") for place in (reference, found))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5
    ours, theirs = (json.loads((place / "curve.json").read_text())["points"] for place in (reference, found))
    for one, other in zip(ours, theirs, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


@pytest.fixture(scope="module")
def model() -> mr.MultiRate:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mr.convert(mlp(shape=(1, 8, 8), latents=6, hidden=(32, 16)), mr.BetaRange(0.01, 10))
        with torch.no_grad():
            for parameter in model.response.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(603, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 64, 300, 1000])
def test_an_evaluation_does_not_depend_on_the_size_of_its_batches(
    batch_size: int, model: mr.MultiRate, images: Tensor
) -> None:
    examples = images[:20] if batch_size == 1 else images  # one at a time takes long
    measures = ("active_units",) if batch_size == 1 else ("active_units", "decomposition")
    truth, found = (
        mr.evaluate(model, examples, BETAS, samples=2, measures=measures, batch_size=size, progress=False)
        for size in (500, batch_size)
    )
    for one, other in zip(truth.points, found.points, strict=True):
        assert other == pytest.approx(one, rel=1e-6)


def test_betas_of_each_example_give_what_one_beta_gives(model: mr.MultiRate, images: Tensor) -> None:
    betas = torch.tensor(BETAS).repeat_interleave(4)
    x = images[:4].repeat(3, 1, 1, 1)
    with torch.no_grad(), model.at(betas):
        together = model.base.encode(x).mean
    for i, beta in enumerate(BETAS):
        with torch.no_grad(), model.at(beta):
            alone = model.base.encode(images[:4]).mean
        torch.testing.assert_close(together[4 * i : 4 * i + 4], alone, rtol=1e-6, atol=1e-7)


def evaluated(item: tuple[Path, float]) -> list[dict[str, float]]:
    """Evaluate a stored model at one beta."""
    folder, beta = item
    x = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return [dict(point) for point in mr.evaluate(mr.load(folder), x, [beta], progress=False).points]


@pytest.mark.slow
def test_processes_evaluate_as_one_does(model: mr.MultiRate, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "model")
    together = mr.evaluate(
        mr.load(folder),
        torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(1)),
        BETAS,
        progress=False,
    )
    apart = [point for points in in_processes(evaluated, [(folder, b) for b in BETAS], 2) for point in points]
    assert apart == [dict(point) for point in together.points]


PUBLIC: dict[str, Callable[[mr.MultiRate, Tensor, Path], object]] = {
    "plan": lambda model, x, out: mr.plan(model.base),
    "convert": lambda model, x, out: mr.convert(mr.fold(model, 1.0)),
    "convert, preserved": lambda model, x, out: mr.convert(mr.fold(model, 1.0), preserve_at=1.0),
    "fit": lambda model, x, out: mr.fit(mr.convert(mr.fold(model, 1.0)), x, epochs=1, progress=False),
    "fit, validated": lambda model, x, out: mr.fit(
        mr.convert(mr.fold(model, 1.0)), x, val=x, epochs=1, progress=False, out=out / "run"
    ),
    "evaluate": lambda model, x, out: mr.evaluate(model, x, 3, progress=False),
    "evaluate, in small batches": lambda model, x, out: mr.evaluate(model, x, 3, batch_size=7, progress=False),
    "evaluate, all that needs no labels": lambda model, x, out: mr.evaluate(
        model, x, 2, measures=("active_units", "decomposition", "log_likelihood"), progress=False
    ),
    "fold": lambda model, x, out: mr.fold(model, 1.0),
    "save and load": lambda model, x, out: mr.load(mr.save(model, out / "model")),
    "data": lambda model, x, out: mr.data.load("digits", "train"),
    "compare": lambda model, x, out: mr.compare(
        mr.evaluate(model, x, 5, progress=False),
        mr.merge([mr.evaluate(mr.fold(model, b), x, beta=b, progress=False) for b in (0.1, 1.0)]),
    ),
    "choose": lambda model, x, out: mr.evaluate(model, x, 5, progress=False).best("elbo"),
    "collapse": lambda model, x, out: mr.collapse(mr.evaluate(model, x, 5, progress=False)),
}


@pytest.mark.parametrize("call", PUBLIC.values(), ids=PUBLIC)
def test_global_random_generators_are_left_as_found(
    call: Callable[[mr.MultiRate, Tensor, Path], object], model: mr.MultiRate, images: Tensor, tmp_path: Path
) -> None:
    numpy_state: Callable[[], object] = np.random.get_state  # the global one is what is asked about
    torch.manual_seed(5)
    before = random.getstate(), repr(numpy_state()), torch.get_rng_state()
    call(model, images[:60], tmp_path)
    after = random.getstate(), repr(numpy_state()), torch.get_rng_state()
    assert after[0] == before[0], "Python's"
    assert after[1] == before[1], "NumPy's"
    assert torch.equal(after[2], before[2]), "torch's"
