"""The tables of docs/reliability.md hold what the harnesses recorded; MULTIRATE_REGENERATE=1 writes them anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from pages import holds, table

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "reliability.md", ROOT / "torture" / "results"
KILLED = ("train", "sweep", "evaluate", "reproduce")
REFUSED = ("DataError", "UsageError", "TrainingError", "ConversionError")


def kept(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def made_by(*names: str) -> str:
    lines = []
    for name in names:
        document = kept(name)
        minutes = document["result"].get("seconds", document["seconds"]) if name == "mutants" else document["seconds"]
        harness, _, subject = name.partition("-")
        command = f"python -m torture.{harness}" + (f" --subjects {subject}" if subject else "")
        # Kinds of kills that one call did one after the other have its time so far.
        took = "" if harness == "kills" else f", {float(minutes) / 60:.0f} minutes"
        lines.append(f"`{command}` at {document['commit']}{took}")
    return "\n" + "; ".join(lines) + ".\n"


def summary() -> str:
    killed = [kept(f"kills-{name}")["result"] for name in KILLED]
    fuzz, requests, server = (kept(name)["result"] for name in ("fuzz", "requests", "server"))
    mutants, mapped, members = (kept(name)["result"] for name in ("mutants", "mapped", "members"))
    faults = sum(number for what, number in fuzz["outcomes"].items() if what.startswith("fault"))
    failed = sum(len(of["failures"]) for of in killed)
    rows = [
        ["runs killed and resumed", f"{sum(of['kills'] for of in killed)} kills", f"{failed} differ"],
        ["damaged files read", f"{fuzz['inputs']:,} inputs", f"{faults} faults"],
        ["faults planted in the mathematics", f"{mutants['mutants']:,} mutants", f"{mutants['share']:.1%} noticed"],
        ["requests of 8 threads to a model", f"{requests['requests']:,} requests", f"{requests['wrong']} wrong"],
        [
            "good, malformed and slow requests to the explorer",
            f"{server['requests']:,} requests",
            f"{len(server['failures'])} failures",
        ],
        [
            "images that stay on disk",
            f"{mapped['images']:,} images",
            f"memory grows by {mapped['training']['growth_megabytes']:.1f} MB",
        ],
        [
            "members of one sweep, of which some fail",
            f"{members['members']} members, {members['failed_at_first']} failing",
            f"{members['points_at_last']} points after the second call",
        ],
    ]
    return table("what was done | how often | what came of it", rows)


def kills() -> str:
    rows = []
    for name in KILLED:
        found = kept(f"kills-{name}")["result"]
        for variant, about in found["variants"].items():
            numbers = [str(about["kills"].get(moment, 0)) for moment in ("time", "change", "writing")]
            half, runs = about["kills that left a half-written file"], about["runs compared"]
            rows.append([f"{name}: {variant}", *numbers, str(half), str(runs)])
    head = "run | killed at a random time | at a change in its folder | at a half-written file"
    names = [f"kills-{name}" for name in KILLED]
    return table(f"{head} | left a half-written file | runs compared, all identical", rows) + made_by(*names)


def fuzz() -> str:
    rows = []
    for name, about in kept("fuzz")["result"]["readers"].items():
        outcomes = about["outcomes"]
        refused = sum(outcomes.get(kind, 0) for kind in REFUSED)
        faults = sum(number for what, number in outcomes.items() if what.startswith("fault"))
        assert outcomes.get("read", 0) + refused + faults == about["inputs"]
        numbers = [f"{number:,}" for number in (about["inputs"], refused, outcomes.get("read", 0), faults)]
        rows.append([name, *numbers, f"{about['slowest_seconds']:.2f}", f"{about['peak_megabytes']:.0f}"])
    head = "reader | inputs | refused, by a documented error | read | faults | slowest, s | most memory, MB"
    return table(head, rows) + made_by("fuzz")


def mutants() -> str:
    found = kept("mutants")["result"]
    rows = []
    for name, about in found["modules"].items():
        caught = about["mutants"] - about["survived"]
        rows.append([f"`{name}`", str(about["mutants"]), f"{caught / about['mutants']:.1%}", str(about["survived"])])
    rows.append(["**all**", f"{found['mutants']:,}", f"{found['share']:.1%}", str(found["survived"])])
    return table("module | mutants | noticed | not noticed, each explained", rows) + made_by("mutants")


def requests() -> str:
    rows = [
        [name, f"{sum(about['answers'].values()):,}", str(about["wrong"])]
        for name, about in kept("requests")["result"]["models"].items()
    ]
    return table("model | answers compared bit by bit | wrong", rows) + made_by("requests")


TABLES = {
    "summary": summary,
    "kills": kills,
    "fuzz": fuzz,
    "mutants": mutants,
    "requests": requests,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_page_holds_what_the_harnesses_recorded(name: str) -> None:
    holds(PAGE, name, TABLES[name]())


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_has_no_failure_and_names_its_commit(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["commit"] and not document["commit"].endswith("-dirty")
    found = document["result"]
    assert not found.get("failures") and not found.get("faults") and not found.get("wrong")


def test_so_much_was_tried_as_the_page_promises() -> None:
    assert all(kept(f"kills-{name}")["result"]["kills"] >= 30 for name in KILLED)
    assert kept("fuzz")["result"]["inputs"] >= 100_000
    assert kept("mutants")["result"]["share"] >= 0.9 and kept("mutants")["result"]["unexplained"] == 0
    assert kept("requests")["result"]["requests"] >= 10_000
    assert kept("mapped")["result"]["trained_on"] > 500_000 and kept("mapped")["result"]["images"] >= 10**6
    assert (kept("members")["result"]["members"], kept("members")["result"]["failed_at_first"]) == (200, 20)
