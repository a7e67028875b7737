"""The explorer's folder: the page, what it shows, the model and the runtime, with relative addresses only."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from multirate.curve import Curve, FloatArray
from multirate.data import Source
from multirate.errors import ConversionError, UsageError
from multirate.experiments.building import first_examples, load_data
from multirate.experiments.run import FinishedRun, read_curve
from multirate.experiments.sentences import Writer, open_writer
from multirate.files import staged, write_atomic, write_json
from multirate.inference import base_of
from multirate.integrations.explorer.content import SCHEMA, STEPS, betas_of, latents, nearest_step, steps
from multirate.integrations.explorer.live import BETWEEN, live_parts, prior_draws, write_models, write_tensors
from multirate.integrations.explorer.runtime import LICENSE, RELEASE, copy_runtime, find_runtime
from multirate.integrations.explorer.sheets import SHEET_BETAS, sentences, write_sheet
from multirate.integrations.parts import Part
from multirate.report.assemble import write_report
from multirate.report.run import read_run
from multirate.text import listed
from multirate.wrapper import MultiRate

CONTENT = "explorer.json"

_FEWEST, _MOST = 2, 64
# What is shown unless asked otherwise.
_PICTURES, _SENTENCES = 8, 4
# What an earlier explorer may have had and the next one may not have.
_OLD = ("encoder.onnx", "decoder.onnx", "images.bin", "draws.bin", "sheet.png", "ort")


@dataclass(frozen=True)
class Explorer:
    """An explorer's folder.

    Args:
        folder: that holds ``index.html``.
        kind: ``"live"`` if the page runs the model; ``"sheet"`` and ``"sentences"`` if it shows what was made
            beforehand at some betas; ``"curve"`` if it shows curve and latents alone.
        notes: what is not there, and why; the page says the same.
        bytes: of all its files.
    """

    folder: Path
    kind: str
    notes: tuple[str, ...]
    bytes: int


def explore_run(
    run: FinishedRun,
    out: str | Path | None = None,
    *,
    examples: int | None = None,
    runtime: str | Path | None = None,
    data_dir: str | None = None,
) -> Explorer:
    """Make the explorer of an evaluated run, by default in its folder, where its report then links to it.

    Args:
        run: multi-rate and evaluated.
        out: in place of ``explorer`` in the run's folder.
        examples: of the first examples, and of prior draws: how many to show; 8 pictures or 4 sentences by default.
        runtime: archive or folder of onnxruntime-web, in place of the cache's.
        data_dir: folder of the original data files, in place of the run's.

    Returns:
        The explorer.

    Raises:
        UsageError: if the run is of one beta.
        MultirateError: as :func:`write_explorer`, or if the run or its data cannot be read.
    """
    if run.beta is not None:
        raise UsageError(
            f"{run.folder} holds a plain VAE of beta {run.beta:g}: an explorer moves along beta; name a multi-rate run"
        )
    curve = read_curve(run.folder)
    source = load_data(run.spec, curve.split, data_dir)
    inside = run.folder / "explorer"
    folder = inside if out is None else Path(out)
    made = write_explorer(
        run.model,
        source,
        curve,
        folder,
        examples=examples,
        runtime=runtime,
        baselines=read_run(run.folder).baselines,
        writer_at=None if source.vocabulary is None else lambda beta: open_writer(run, beta),
        command=f"multirate explore {shlex.quote(run.folder.name)}",
    )
    if folder.resolve() == inside.resolve() and (run.folder / "report.html").exists():
        write_report(run.folder)
    return made


def write_explorer(
    model: nn.Module,
    source: Source,
    curve: Curve,
    folder: str | Path,
    *,
    examples: int | None = None,
    runtime: str | Path | None = None,
    baselines: Sequence[Curve] = (),
    writer_at: Callable[[float], Writer] | None = None,
    command: str = "",
) -> Explorer:
    """Make the explorer of any multi-rate model.

    A model of images with one Gaussian latent vector (``encode``, ``decode``, ``prior``) runs in the page; where it
    cannot, as a hierarchical one, its pictures are made beforehand at 24 betas.

    Args:
        model: multi-rate.
        source: the data that the curve was measured on.
        curve: of the model.
        folder: to write to; it is made, and may hold an earlier explorer.
        examples: of the first examples, and of prior draws: how many to show; 8 pictures or 4 sentences by default.
        runtime: archive or folder of onnxruntime-web, in place of the cache's.
        baselines: curves of dedicated models, to draw beside the curve.
        writer_at: returns the writer of a text model at a beta.
        command: that makes it, to say on the page.

    Returns:
        The explorer.

    Raises:
        UsageError: if the model is plain, examples are fewer than 2 or more than 64, the data have fewer than 2, or the
            folder holds other files.
        MultirateError: if the runtime is missing or damaged, or a file cannot be written.
    """
    folder = Path(folder)
    betas = betas_of(model, curve, STEPS + 1)
    assert isinstance(model, MultiRate)
    if examples is None:
        examples = _PICTURES if source.vocabulary is None else _SENTENCES
    _check(folder, examples, source)
    with staged(folder, last="index.html", old=_OLD) as place:
        grid = betas_of(model, curve, SHEET_BETAS).tolist()
        if source.vocabulary is not None:
            shown = _text(writer_at, source, grid, examples)
        else:
            shown = _pictures(model, source, grid, examples, place, runtime)
        content = {**_about(model, source, curve, betas, baselines, command), **shown}
        write_json(place / CONTENT, content)
        curve.save(place / "curve.json")
        _write_page(place)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Explorer(folder, content["kind"], tuple(content["notes"]), size)


def _about(
    model: MultiRate, source: Source, curve: Curve, betas: FloatArray, baselines: Sequence[Curve], command: str
) -> dict[str, Any]:
    """Return what the page says whatever the kind of model, and empty entries for the rest."""
    return {
        "schema": SCHEMA,
        "title": f"{curve.label} on {curve.data}",
        "subtitle": f"β from {betas[0]:.3g} to {betas[-1]:.3g}; curve measured at {len(curve)} β on "
        f"{curve.examples:,} examples of {curve.data} {curve.split}, in nats an example",
        "made": f"Made by {command or 'multirate'}.",
        "steps": steps(curve, betas),
        "best": nearest_step(betas, curve.best()),
        "baselines": [{"label": line.label, "points": list(line.points)} for line in baselines],
        "latents": latents(model, source, curve, betas),
        **dict.fromkeys(("pictures", "model", "sheet", "sentences")),
        "notes": [],
    }


def _check(folder: Path, examples: int, source: Source) -> None:
    if len(source) < _FEWEST:
        raise UsageError(f"{source.name} {source.split} has {len(source)} example, and the page needs {_FEWEST}")
    if not _FEWEST <= examples <= _MOST:
        raise UsageError(f"examples must be from {_FEWEST} to {_MOST}, as many as fit on a page; got {examples}")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CONTENT).exists()):
        raise UsageError(f"{folder} holds something else, which would be served too; name a new folder with --out")


def _text(
    writer_at: Callable[[float], Writer] | None, source: Source, betas: Sequence[float], examples: int
) -> dict[str, Any]:
    if writer_at is None:
        return {"kind": "curve", "notes": ["There are no sentences: they need the vocabulary of a run."]}
    return {"kind": "sentences", "sentences": sentences(writer_at, source, betas, examples)}


def _pictures(
    model: MultiRate,
    source: Source,
    betas: Sequence[float],
    examples: int,
    folder: Path,
    runtime: str | Path | None,
) -> dict[str, Any]:
    """Write what the page needs for pictures, and return its entries."""
    reason = _no_pictures(model, source)
    if reason is not None:
        return {"kind": "curve", "notes": [f"There are no pictures: {reason}."]}
    x = first_examples(source, examples)
    draws = prior_draws(model, len(x))
    write_tensors(x, draws, folder)
    low, high = source.value_range or (0.0, 1.0)
    shades = (0.0, 1.0) if low >= 0 and high <= 1 else (float(low), float(high))
    pictures = {
        "shape": [*[1] * (3 - len(source.shape)), *source.shape],
        "examples": len(x),
        "draws": len(draws),
        "latents": draws[0].numel(),
        "between": BETWEEN,
        "range": shades,
    }
    write_sheet(model, x, betas, shades, folder / "sheet.png")
    shown = {"pictures": pictures, "sheet": {"file": "sheet.png", "betas": list(betas)}}
    try:
        return shown | {"kind": "live", "model": _live(live_parts(model, x), folder, runtime)}
    except ConversionError as error:
        made = f"Pictures are of the nearest of {len(betas)} β, made beforehand"
        return shown | {"kind": "sheet", "notes": [f"{made}; the model cannot run in the page: {error}."]}


def _no_pictures(model: MultiRate, source: Source) -> str | None:
    shape, base = source.shape, base_of(model)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))):
        return f"examples of shape {list(shape)} are no images"
    missing = [name for name in ("encode", "decode", "prior") if not callable(getattr(base, name, None))]
    return f"{type(base).__name__} has no {listed(missing)}" if missing else None


def _live(parts: tuple[Part, Part], folder: Path, runtime: str | Path | None) -> dict[str, Any]:
    package = find_runtime(runtime)
    entry = write_models(*parts, folder)
    copied = copy_runtime(package, folder / "ort")
    wasm = next(path for path in copied if path.suffix == ".wasm")
    needed = [*copied, *(folder / part["file"] for part in entry.values())]
    about = {"runtime": f"ort/{wasm.name}", "version": RELEASE.version}
    return entry | about | {"bytes": sum(path.stat().st_size for path in needed)}


def _write_page(folder: Path) -> None:
    for entry in resources.files(__package__).joinpath("page").iterdir():
        if entry.name != LICENSE:
            write_atomic(folder / entry.name, entry.read_bytes())
