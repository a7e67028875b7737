"""The tables of docs/performance.md hold what benchmarks/results holds; MULTIRATE_REGENERATE=1 writes them anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pages import holds, table

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "performance.md", ROOT / "benchmarks" / "results"


def kept(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def made_by(name: str) -> str:
    document = kept(name)
    machine = document["machine"]
    where = f"{machine['processor']}, {machine['threads']} threads, torch {machine['versions']['torch']}"
    return f"\n`{document['command']}` at {machine['commit']}, {where}.\n"


def quartiles(row: dict[str, Any]) -> str:
    return f"{row['ratio_lower_quartile']:.3f} to {row['ratio_upper_quartile']:.3f}"


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}" if seconds < 10 else f"{1e3 * seconds:.0f}"


def ratios(name: str, over: str, variants: Callable[[dict[str, Any]], list[str]]) -> str:
    rows = []
    for row in kept(name)["rows"]:
        times = [milliseconds(values["median"]) for values in (row["seconds"][key] for key in variants(row))]
        rows.append([row["setting"], f"{row['ratio']:.3f}", quartiles(row), row.get("bar", ""), " / ".join(times)])
    return table(f"setting | {over} | quartiles by round | bar | ms", rows) + made_by(name)


def training_step() -> str:
    return ratios("training_step", "multi-rate over plain", lambda row: ["multi-rate", "plain"])


def inference() -> str:
    return ratios("inference", "over plain", lambda row: [key for key in row["seconds"] if key != "plain"] + ["plain"])


def pythae() -> str:
    return ratios("against_pythae", "pythae's time over ours", lambda row: list(row["seconds"]))


def memory() -> str:
    rows = []
    for row in kept("memory")["rows"]:
        peaks = [f"{row[kind]['peak'] / 1e6:.1f}" for kind in ("multi-rate", "plain")]
        shares = [f"{row[key]:.3f}" for key in ("autograd_ratio", "resident_ratio")]
        sizes = [f"{row['ratio']:.3f}", row["bar"], " / ".join(peaks), *shares]
        rows.append([row["setting"], *sizes])
    head = "setting | peak, multi-rate over plain | bar | MB | left to autograd | resident size of the process, ratio"
    return table(head, rows) + made_by("memory")


def ablation() -> str:
    rows = [[row["setting"], f"{row['ratio']:.3f}", quartiles(row)] for row in kept("ablation")["rows"]]
    return table("step | over the default multi-rate step | quartiles by round", rows) + made_by("ablation")


def allocator() -> str:
    rows = [
        [row["setting"], f"{row['ratio']:.3f}", " to ".join(f"{r:.3f}" for r in (row["ratios"][0], row["ratios"][-1]))]
        for row in kept("allocator")["rows"]
    ]
    return table("step | kept memory over glibc's habit | range", rows) + made_by("allocator")


def profile() -> str:
    rows = []
    for row in kept("profile_step")["rows"]:
        plain, multirate = row["plain_ms"], row["multi-rate_ms"]
        names = dict.fromkeys([*plain, *multirate])
        for name in sorted(names, key=lambda name: -multirate.get(name, 0.0)):
            numbers = plain.get(name, 0.0), multirate.get(name, 0.0)
            share = (numbers[1] - numbers[0]) / sum(multirate.values())
            rows.append([row["setting"], name, *(f"{number:.2f}" for number in numbers), f"{share:+.1%}"])
        sums = sum(plain.values()), sum(multirate.values())
        rows.append([row["setting"], "**all**", *(f"{n:.2f}" for n in sums), f"{1 - sums[0] / sums[1]:+.1%}"])
    head = "model | operations | plain, ms | multi-rate, ms | difference, share of the multi-rate step"
    return table(head, rows) + made_by("profile_step")


def epoch() -> str:
    rows = []
    for row in kept("epoch")["rows"]:
        times = [f"{1e3 * row['seconds'][of]['median']:.3g}" for of in ("batch", "step")]
        rows.append([row["setting"], f"{row['ratio']:.2%}", f"{float(row['bar']):.0%}", *times])
    return table("model | share of the data | bar | a batch, ms | a step, ms", rows) + made_by("epoch")


def startup() -> str:
    rows = [
        [row["setting"], f"{row['seconds']['median']:.3f}", f"{row['over_torch']:+.3f}", row["bar"]]
        for row in kept("startup")["rows"]
    ]
    return table("what | seconds | over `import torch` | bar", rows) + made_by("startup")


def whole_curve() -> str:
    rows = []
    for name in ("whole_curve", "whole_curve_mlp"):
        for row in kept(name)["rows"]:
            runs = row["multirate_seconds"], row["dedicated_seconds"]
            parts = [[sum(run[part] for run in of) / len(of) for part in ("train", "evaluate")] for of in runs]
            times = [" + ".join(f"{part:.1f}" for part in of) for of in parts]
            spread = f"{row['ratios'][0]:.3f} to {row['ratios'][-1]:.3f}"
            rows.append([row["setting"], f"{row['ratio']:.3f}", spread, row["bar"], *times])
    head = "setting | one run over ten | range | bar | multi-rate run + 20 betas, s | one dedicated run + its beta, s"
    return table(head, rows) + made_by("whole_curve") + made_by("whole_curve_mlp")


def processes() -> str:
    document = kept("processes")
    losses = [
        [row["model"], row["setting"], f"{row['largest']:.1e}", str(row["first_step_at_the_bar"] or "-")]
        for row in document["losses"]
    ]
    head = (
        "model | over one process with the joint batch | largest relative difference of a loss | first step beyond 1e-5"
    )
    speeds = [[row["setting"], f"{row['ratio']:.3f}", quartiles(row)] for row in document["rows"]]
    throughput = table("throughput | over one process, two threads | quartiles by round", speeds)
    return f"{table(head, losses)}\n{throughput}{made_by('processes')}"


def cost() -> str:
    document = kept("cost")
    rows = [
        [
            row["varied"],
            str(row["size"]),
            f"{1e3 * row['multi-rate']:.1f} / {1e3 * row['plain']:.1f}",
            f"{row['ratio']:.3f}",
        ]
        for row in document["rows"]
    ]
    slopes = ", ".join(f"{name} {value:.2f}" for name, value in document["slopes"].items())
    head = "varied | size | ms, multi-rate / plain | ratio"
    return (
        f"Exponents of the gates' cost in the number of activations: {slopes}.\n\n{table(head, rows)}{made_by('cost')}"
    )


def in_short() -> str:
    """Return the lines of the README: what one multi-rate model costs beside one plain one."""
    steps = {row["setting"]: f"{row['ratio']:.2f}" for row in kept("training_step")["rows"]}
    peaks = {row["setting"]: f"{row['ratio']:.2f}" for row in kept("memory")["rows"]}
    names = {
        "convnet": "ConvNet",
        "resnet": "ResNet",
        "lstm": "LSTM",
        "nvae, small": "NVAE, small",
        "mlp": "MLP 512-256-32",
    }
    rows = [[shown, steps[name], steps.get(f"{name}, compiled", "-"), peaks[name]] for name, shown in names.items()]
    curve = kept("whole_curve")["rows"][0]
    seconds = {row["setting"]: row["ratio"] for row in kept("inference")["rows"]}
    folded, of_curve = (f"{seconds[f'resnet, {what}']:.2f}" for what in ("folded, batch 128", "curve of 20 betas"))
    lines = (
        f"One ResNet run and its curve of 20 betas take {curve['ratio']:.3f} of the time of ten dedicated runs and "
        f"their evaluations.\nThat curve takes {of_curve} of 20 passes of a plain model; "
        f"a folded model takes {folded} of one.\n"
    )
    head = "model | time of a training step, multi-rate over plain | the same, compiled | peak memory"
    return f"{table(head, rows)}\n{lines}"


TABLES = {
    "what it costs": in_short,
    "training step": training_step,
    "memory": memory,
    "inference": inference,
    "pythae": pythae,
    "ablation": ablation,
    "allocator": allocator,
    "profile": profile,
    "epoch": epoch,
    "startup": startup,
    "whole curve": whole_curve,
    "processes": processes,
    "cost": cost,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_page_holds_what_the_results_hold(name: str) -> None:
    holds(ROOT / "README.md" if name == "what it costs" else PAGE, name, TABLES[name]())


@pytest.mark.parametrize("name", ["training_step", "inference", "against_pythae"])
def test_ratios_are_those_of_the_medians_beside_them(name: str) -> None:
    for row in kept(name)["rows"]:
        first, second = (values["median"] for values in row["seconds"].values())
        assert row["ratio"] == pytest.approx(first / second) or row["ratio"] == pytest.approx(second / first)
