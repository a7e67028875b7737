"""The tables of docs/scaling.md hold what the committed counts hold; MULTIRATE_REGENERATE=1 writes them anew."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import multirate as mr
from multirate.terms import Terms
from pages import holds, table

ROOT = Path(__file__).resolve().parents[1]
PAGE, KEPT = ROOT / "docs" / "scaling.md", ROOT / "benchmarks" / "results" / "scaling.json"
NAMES = {"nvae": "NVAE, CelebA-64", "autoencoder-kl": "AutoencoderKL, 256x256"}


def kept() -> dict[str, Any]:
    return json.loads(KEPT.read_text(encoding="utf-8"))


def pairs(rows: list[dict[str, Any]], *keys: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return plain and multi-rate rows that agree in these keys, in the file's order."""
    plain = [row for row in rows if row["arm"] == "plain"]
    others = {tuple(row[key] for key in keys): row for row in rows if row["arm"] == "multi-rate"}
    return [(row, others[tuple(row[key] for key in keys)]) for row in plain]


def beside(plain: float, multirate: float, digits: int) -> str:
    return f"{plain:,.{digits}f} / {multirate:,.{digits}f} ({multirate / plain - 1:+.1%})"


def counted(document: dict[str, Any]) -> str:
    head = (
        "model | numbers | batch | parameters, M | GFLOP an image | bytes moved, GB an image | bytes kept, GB an image"
    )
    rows = []
    for plain, gated in pairs(document["rows"], "model", "precision"):
        numbers = [beside(plain["parameters"] / 1e6, gated["parameters"] / 1e6, 2)]
        plain_flops, gate_flops = plain["flops_an_image"] / 1e9, gated["gate_flops_an_image"] / 1e9
        numbers.append(beside(plain_flops, gated["flops_an_image"] / 1e9 + gate_flops, 1))
        for key in ("bytes_moved_an_image", "bytes_kept_an_image"):
            numbers.append(beside(plain[key] / 1e9, gated[key] / 1e9, 2))
        rows.append([NAMES[plain["model"]], plain["precision"], str(plain["batch"]), *numbers])
    return table(
        f"{head} | kernels a step", [[*row, kernels] for row, kernels in zip(rows, launches(document), strict=True)]
    )


def launches(document: dict[str, Any]) -> list[str]:
    return [beside(a["kernels"], b["kernels"], 0) for a, b in pairs(document["rows"], "model", "precision")]


def one_gpu(document: dict[str, Any]) -> str:
    head = "model | GPU | numbers | arithmetic and memory, ms | launches, ms | optimizer, ms | step, ms"
    rows = []
    for plain, gated in pairs(document["one_gpu"], "model", "gpu", "precision"):
        times = [
            beside(1e3 * plain[f"{key}_seconds"], 1e3 * gated[f"{key}_seconds"], 1)
            for key in ("bound", "launch", "optimizer", "step")
        ]
        hours = beside(plain["hours_a_million_images"], gated["hours_a_million_images"], 2)
        rows.append([NAMES[plain["model"]], plain["gpu"], plain["precision"], *times, hours])
    return table(f"{head} | hours a million images", rows)


def memory(document: dict[str, Any]) -> str:
    head = "model | numbers | weights, gradients, moments, GB | activations of the batch, GB | largest batch in 80 GB"
    rows = []
    for plain, gated in pairs(document["one_gpu"], "model", "gpu", "precision"):
        if plain["gpu"] == next(iter(document["gpus"])):
            sizes = [beside(plain[key] / 1e9, gated[key] / 1e9, 2) for key in ("state_bytes", "activation_bytes")]
            largest = f"{plain['largest_batch']} / {gated['largest_batch']}"
            rows.append([NAMES[plain["model"]], plain["precision"], *sizes, largest])
    return table(head, rows)


def clusters(document: dict[str, Any]) -> str:
    head = "model | GPUs | links a node | a GPU sends, MB | a node sends, MB | of it the response, MB | all-reduce, ms"
    rows = []
    for row in document["clusters"]:
        if row["arm"] == "multi-rate" and row["gpu"] == next(iter(document["gpus"])):
            of_all, response = row["gradients"]["all"], row["gradients"]["response"]
            sent = [f"{of_all[key] / 1e6:,.0f}" for key in ("bytes_within", "bytes_between")]
            sent.append(" + ".join(f"{response[key] / 1e6:,.1f}" for key in ("bytes_within", "bytes_between")))
            seconds = f"{1e3 * of_all['seconds']:.1f} (response {1e3 * response['seconds']:.2f})"
            links = "-" if row["nodes"] == 1 else str(row["links"])
            sharded = [f"{row['sharded_bytes'] / 1e6:,.0f}", f"{row['sharded_state_bytes'] / 1e9:.2f}"]
            share = f"{row['share_without_overlap']:.0%}"
            rows.append([NAMES[row["model"]], str(row["gpus"]), links, *sent, seconds, share, *sharded])
    return table(f"{head} | share of a step, if nothing overlaps | FSDP2 sends, MB | FSDP2 keeps, GB", rows)


TABLES = {"counted": counted, "one gpu": one_gpu, "memory": memory, "clusters": clusters}


@pytest.mark.parametrize("name", TABLES)
def test_the_page_holds_what_the_results_hold(name: str) -> None:
    holds(PAGE, name, TABLES[name](kept()))


def test_the_page_has_the_assumptions_of_the_results() -> None:
    text, document = PAGE.read_text(encoding="utf-8"), kept()
    for name, value in document["assumed"].items():
        assert f"| {name} | {value:g} |" in text
    for name, gpu in document["gpus"].items():
        peaks = [f"{gpu[key] / 1e12:g}" for key in ("bf16", "float32", "vector", "memory")]
        assert f"| {name} | {' | '.join(peaks)} | {gpu['link'] / 1e9:g} |" in text


@pytest.mark.parametrize(
    "row", kept()["clusters"], ids=lambda row: f"{row['model']} {row['arm']} {row['gpus']} {row['links']}"
)
def test_a_ring_sends_all_but_its_share_twice(row: dict[str, Any]) -> None:
    parameters = next(r["parameters"] for r in kept()["rows"] if (r["model"], r["arm"]) == (row["model"], row["arm"]))
    # Eight GPUs: seven pieces of an eighth are sent to be added up, and seven sums to be known by all.
    assert row["gradients"]["all"]["bytes_within"] == pytest.approx(14 / 8 * 4 * parameters)
    between = {1: 0.0, 4: 6 / 4, 32: 62 / 32}[row["nodes"]]
    assert row["gradients"]["all"]["bytes_between"] == pytest.approx(between * 4 * parameters)


def test_parameters_are_those_of_the_models() -> None:
    rows = {(row["model"], row["arm"]): row for row in kept()["rows"]}
    assert rows["nvae", "plain"]["parameters"] == 154_038_984  # docs/models.md
    assert rows["nvae", "multi-rate"]["response_parameters"] == 2_341_664
    assert rows["autoencoder-kl", "plain"]["parameters"] == 83_653_863  # the public weights' size


class Squares(nn.Module):
    """What is counted by hand below: two convolutions, the second depthwise, of 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.SiLU(), nn.Conv2d(6, 6, 5, padding=2, groups=6))

    def terms(self, x: torch.Tensor) -> Terms:
        return Terms(x.new_zeros(len(x)), self.encoder(x).sum((1, 2, 3)))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield __import__("counting")
    sys.modules.pop("counting", None)


def test_a_step_is_counted_as_by_hand(counting: Any) -> None:
    with torch.device("meta"):
        model, x = Squares(), torch.empty(2, 3, 8, 8)
    step = counting.count_step(model, x)
    # Forward, and backward the weights' gradient; the second has an input's gradient too.
    dense, depthwise = 2 * 64 * 2 * (3 * 6 * 9), 2 * 64 * 2 * (6 * 25)
    assert step.flops(counting.DENSE) == 2 * dense
    assert step.flops(counting.DEPTHWISE) == 3 * depthwise
    # Kept: the images, what the first convolution gives to SiLU, and what SiLU gives to the second.
    assert step.kept == 4 * 2 * 64 * (3 + 6 + 6)


def test_gated_elements_are_counted_as_by_hand(counting: Any) -> None:
    with torch.device("meta"):
        model, x = mr.convert(Squares(), mr.BetaRange(0.1, 1.0), decoder=(), response="film"), torch.empty(2, 3, 8, 8)
    assert counting.gated_elements(model, x, torch.full((2,), 0.5)) == 64 * (6 + 6)


def test_time_is_bound_by_arithmetic_or_by_memory(counting: Any) -> None:
    step = counting.Step([counting.Operation(100, "dense", 1), counting.Operation(0, "none", 30)])
    assert step.seconds({"dense": 10.0}, 3.0) == pytest.approx(100 / 10 + 30 / 3)
