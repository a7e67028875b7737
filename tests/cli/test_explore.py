"""``multirate explore``: what it makes, what it prints, and how it ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from multirate.cli.main import main
from multirate.cli.names import COMMANDS

# Vectors: an explorer of curve and latents alone, which needs neither an export nor a runtime.
TRAIN = ["--model", "mlp", "--hidden", "8", "--latents", "3", "--epochs", "2", "--batch-size", "16"]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-rate run of vectors, evaluated; tests only add explorers."""
    folder = tmp_path_factory.mktemp("explore")
    np.save(folder / "vectors.npy", np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32))
    run = folder / "run"
    assert main(["train", "--data", str(folder / "vectors.npy"), *TRAIN, "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--betas", "3", "--no-figures"]) == 0
    return run


def test_the_folder_is_made_in_the_run_and_nothing_is_served(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["explore", str(vectors), "--no-serve"]) == 0
    said = capsys.readouterr().out
    assert f"wrote {vectors / 'explorer'}, 0." in said and "serving" not in said
    assert "note: There are no pictures: examples of shape [5] are no images." in said
    assert (vectors / "explorer" / "index.html").exists()


def test_the_result_is_machine_readable(vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["explore", str(vectors), "--out", str(tmp_path / "page"), "--no-serve", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["explorer"] == str(tmp_path / "page") and found["kind"] == "curve" and len(found["notes"]) == 1
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "page").rglob("*") if path.is_file())


@pytest.mark.slow
def test_it_serves_until_ctrl_c_and_ends_with_0(vectors: Path, tmp_path: Path) -> None:
    words = ["explore", str(vectors), "--out", str(tmp_path / "page"), "--no-browser"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "multirate", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            line = next(line for line in process.stdout if "serving" in line)
            assert "(Ctrl-C ends it)" in line
            url = line.split(" at ")[1].split()[0]
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{url}explorer.json", timeout=20) as answer:
                assert json.load(answer)["schema"] == "multirate.explorer/1"
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_a_taken_port_is_one_line(vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["explore", str(vectors), "--out", str(tmp_path / "page"), "--port", str(port)]
        assert main(words) == 2
    error = capsys.readouterr().err
    assert f"cannot listen on port {port}" in error and error.count("\n") == 1


def test_a_plain_run_is_refused(baselines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["explore", str(baselines / "beta-1"), "--no-serve"]) == 2
    error = capsys.readouterr().err
    assert "holds a plain VAE of beta 1" in error and "name a multi-rate run" in error and error.count("\n") == 1


def test_a_run_without_a_curve_and_a_folder_without_a_run_say_what_to_do(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(vectors, tmp_path / "bare", ignore=shutil.ignore_patterns("curve.*", "explorer"))
    for folder, remedy in ((tmp_path / "bare", "run `multirate evaluate"), (tmp_path, "holds no run")):
        capsys.readouterr()
        assert main(["explore", str(folder), "--no-serve"]) == 1
        assert remedy in capsys.readouterr().err


def test_a_runtime_that_is_not_there_is_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = [
        "explore",
        str(trained),
        "--out",
        str(tmp_path / "page"),
        "--runtime",
        str(tmp_path / "none"),
        "--no-serve",
    ]
    assert main(words) == 2
    assert "name an archive or a folder of onnxruntime-web" in capsys.readouterr().err
    assert not (tmp_path / "page" / "index.html").exists()


def test_the_command_is_listed() -> None:
    assert "explore" in COMMANDS
