"""``multirate export``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions
from multirate.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

_EXAMPLES = 4
_FIRST_WORD = 4
_END = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """Take a run's model away: as ONNX files, as programs of torch.export, as a folder for the Hugging Face Hub.

    Example: multirate export runs/mnist --onnx --out runs/mnist-onnx

    Beta is an input of the files, one number an example; with --beta they are of the plain model there, without it.
    """

    run: PositionalRun
    """Folder of a finished run."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder to write, new or empty."""
    onnx: bool = False
    """Write encoder.onnx, decoder.onnx, reconstruction.onnx, and onnx.json that describes them (extra onnx)."""
    torch_export: bool = False
    """Write the same as .pt2 files, which torch.export.load reads."""
    hub: bool = False
    """Write model, curve, figure and model card, as the Hugging Face Hub keeps them."""
    push: Annotated[str | None, tyro.conf.arg(metavar="USER/NAME")] = None
    """Upload what --hub writes to this repository, with the token of `hf auth login` or HF_TOKEN."""
    private: bool = False
    """Make the repository private, if it is made."""
    license: str | None = None
    """Licence that the card names, such as apache-2.0."""
    beta: float | None = None
    """Fold the model at this beta first."""
    check: bool = True
    """Leave out the comparison of each file with PyTorch, at several betas and batch sizes."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Write, check, and say by how much the files differ from the model."""
    from multirate.experiments.run import open_run

    screen = Screen(options.shared)
    _check(options)
    _check_libraries(options)
    done = open_run(options.run)
    result: dict[str, Any] = {"run": str(options.run), "beta": options.beta}
    if options.out is not None:
        result["export"] = str(options.out)
    if options.onnx:
        from multirate.integrations.onnx import export_onnx

        result["onnx"] = _write(export_onnx, done.model, options, screen)
    if options.torch_export:
        from multirate.integrations.torch_export import export_torch

        result["torch_export"] = _write(export_torch, done.model, options, screen)
    if options.hub:
        from multirate.integrations.hub import FILES, save_pretrained

        assert options.out is not None
        save_pretrained(done.model, options.out, run=options.run, beta=options.beta, license=options.license)
        result["hub"] = {"files": [name for name in FILES if (options.out / name).exists()]}
        screen.say(f"wrote model, card and curve in {options.out}; multirate.integrations.hub.from_pretrained reads it")
    if options.push is not None:
        from multirate.integrations.hub import push_to_hub

        private = True if options.private else None
        result["commit"] = push_to_hub(
            done.model, options.push, run=options.run, beta=options.beta, license=options.license, private=private
        )
        screen.say(f"uploaded to {options.push}: {result['commit']}")
    screen.result(result)


def _check(options: Options) -> None:
    written = options.onnx or options.torch_export or options.hub
    if not written and options.push is None:
        raise UsageError("say what to write: --onnx, --torch-export or --hub, or where to upload: --push USER/NAME")
    if written and options.out is None:
        raise UsageError("say where to write: --out DIR")
    if options.out is not None and not written:
        raise UsageError(f"nothing would be written to {options.out}: add --onnx, --torch-export or --hub")
    if options.out is not None and options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise UsageError(f"{options.out} is not an empty folder; choose another")
    if options.private and options.push is None:
        raise UsageError("--private is for a repository: add --push USER/NAME")
    if options.license is not None and not (options.hub or options.push):
        raise UsageError(f"a licence ({options.license}) is for the card: add --hub or --push USER/NAME")


def _check_libraries(options: Options) -> None:
    """Ask for every extra before anything is written: a form that fails later would leave the folder taken."""
    from multirate.integrations.extras import require

    if options.onnx:
        for library in ("onnx", "onnxscript", *(("onnxruntime",) if options.check else ())):
            require(library, extra="onnx")
    if options.hub or options.push:
        require("huggingface_hub", extra="hub")


def _write(export: Any, model: "nn.Module", options: Options, screen: Screen) -> dict[str, Any]:
    """Export in one form; return its files and the largest difference."""
    from multirate.files import read_json

    paths = export(model, options.out, example=example_of(model), beta=options.beta, check=options.check)
    difference = read_json(paths[-1]).get("largest_difference")
    *files, manifest = (path.name for path in paths)
    checked = "not checked" if difference is None else f"differ from PyTorch by {difference:.1e} at most"
    screen.say(f"wrote {', '.join(files)} in {options.out}, {checked}; {manifest} describes them")
    found = {"files": [path.name for path in paths]}
    return found if difference is None else found | {"largest_difference": difference}


def example_of(model: "nn.Module") -> "Tensor":
    """Return a few examples of the shape that a built-in model takes, to trace it with: noise, or random sentences.

    Args:
        model: plain or multi-rate.
    """
    import torch

    from multirate.inference import base_of
    from multirate.seeding import generator

    base: Any = base_of(model)
    noise = torch.rand(_EXAMPLES, *base.shape, generator=generator(0, "export", "example"))
    if base.likelihood != "categorical":
        return noise
    words = _FIRST_WORD + (noise * (base.vocabulary_size - _FIRST_WORD)).long()
    lengths = torch.linspace(1, base.shape[0], _EXAMPLES).long()[:, None]
    place = torch.arange(base.shape[0])
    return torch.where(place < lengths - 1, words, torch.where(place == lengths - 1, _END, 0))
