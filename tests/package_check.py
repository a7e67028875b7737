"""Builds wheel and sdist, installs each in a clean environment, and uses it; with --extras, installs each extra alone.

It needs the package index, so it is no test of the suite: `make test-package`, `make test-extras`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# An import of each extra, which must work in an environment with that extra alone.
IMPORTS = {
    "compressai": "",  # asks for torchvision's own operators at import, which a CPU build of torch may lack
    "diffusers": "diffusers",
    "docs": "sphinx, furo, myst_parser",
    "fid": "torchmetrics.image.fid",
    "frechet": "torchmetrics, efficientnet_lite_pytorch",
    "hf": "datasets",
    "hub": "huggingface_hub",
    "lightning": "lightning",
    "onnx": "onnx, onnxscript, onnxruntime",
    "pythae": "pythae",
    "scvi": "scvi, scanpy",
    "slurm": "submitit",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
# Another library's versions, which the constraints of the project do not fit.
FREE = ("compressai", "pythae", "scvi")
INSIDE = (
    "multirate/py.typed",
    "multirate/report/page.css",
    "multirate-{version}.dist-info/licenses/LICENSE",
)


def run(*command: str | Path, cwd: Path = ROOT, code: int = 0) -> str:
    """Run a command and return what it printed; stop unless it ends as expected."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def build(folder: Path) -> list[Path]:
    """Build both distributions and look into the wheel."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    page = ROOT / "src" / "multirate" / "integrations" / "explorer" / "page"
    needed = (*INSIDE, *(f"multirate/integrations/explorer/page/{file.name}" for file in page.iterdir()))
    missing = {name.format(version=wheel.name.split("-")[1]) for name in needed} - names
    if missing:
        sys.exit(f"{wheel.name} lacks {', '.join(sorted(missing))}")
    return [wheel, source]


def environment(folder: Path, what: str, *, free: bool = False) -> Path:
    """Make an environment with one distribution, and return its interpreter."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    run(python, "-m", "pip", "install", "--quiet", torch)
    constraints = [] if free else ["-c", str(ROOT / "constraints.txt")]
    run(python, "-m", "pip", "install", "--quiet", *constraints, what)
    run(python, "-m", "pip", "check")
    return python


def use(python: Path, folder: Path) -> None:
    """Train, measure, choose and report on digits, from another folder; ask for an extra that is not there."""
    folder.mkdir()
    command = python.parent / "multirate"
    words = ["--data", "digits", "--model", "mlp", "--hidden", "32", "--epochs", "1"]
    run(command, "--version", cwd=folder)
    run(command, "train", *words, "--out", "run", cwd=folder)
    run(command, "evaluate", "run", "--betas", "4", cwd=folder)
    run(command, "fold", "run", "--beta", "1", "--out", "plain", cwd=folder)
    run(command, "report", "run", cwd=folder)
    asked = run(command, "export", "run", "--onnx", "--out", "onnx", cwd=folder, code=2)
    if "pip install 'multirate[onnx]'" not in asked:
        sys.exit(f"export without its extra said: {asked}")
    where = run(python, "-c", "import multirate; print(multirate.__file__)", cwd=folder)
    if str(ROOT / "src") in where:
        sys.exit("the package that was used is the checkout's, not the installed one")


def main() -> None:
    """Build, install, use; report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", nargs="*", help="install each of these extras alone; all, if none is named")
    chosen = parser.parse_args().extras
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if set(extras) - {"dev"} != set(IMPORTS):
        sys.exit(f"IMPORTS does not match the extras: {set(extras) ^ set(IMPORTS)}")
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="Agg")
    os.environ.pop("PYTHONPATH", None)
    done: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        built = build(folder / "dist")
        if chosen is None:
            for file in built:
                python = environment(folder / f"environment-{file.suffix[1:]}", str(file))
                use(python, folder / f"use-{file.suffix[1:]}")
                done[file.name] = "installs without extras; train, evaluate, fold and report work"
        for extra in [] if chosen is None else chosen or sorted(IMPORTS):
            python = environment(folder / extra, f"{built[0]}[{extra}]", free=extra in FREE)
            imported = IMPORTS[extra]
            run(python, "-W", "ignore", "-c", f"import multirate{', ' if imported else ''}{imported}", cwd=folder)
            done[f"multirate[{extra}]"] = f"installs alone; imports {imported or 'multirate'}"
    print(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()
