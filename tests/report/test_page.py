"""The page: self-contained, escaped, accessible; and what a run's report says."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from multirate.comparison import compare
from multirate.curve import Curve, point
from multirate.errors import DataError, UsageError
from multirate.report import image_grid, save, write_report
from multirate.report.page import Bullets, Code, Facts, Fold, Notice, Picture, Report, Section, Table, Text, page

MULTI_RATE = ((0.01, 112.2, 47.5), (0.1, 76.1, 48.9), (1.0, 30.2, 65.3), (10.0, 4.7, 141.6))
BASELINES = ((0.01, 129.1, 42.2), (0.1, 81.7, 45.2), (1.0, 25.6, 68.7), (10.0, 3.5, 148.4))
CONFIG = {
    "training": {"epochs": 8, "batch_size": 128, "seed": 0, "warmup_steps": None},
    "model": {"name": "resnet", "parameters": 1884289, "options": {"latents": 32}},
    "data": {"name": "mnist", "shape": [1, 28, 28]},
    "versions": {"multirate": "0.1.0", "torch": "2.13.0"},
    "commit": "0123abc",
    "command": "multirate train --data mnist",
}
DETAILS = {"parameters": 1881217, "response_parameters": 3072, "epochs": 8, "seconds": 5040.0, "beta_range": [0.01, 10]}
VOID = {"meta", "img", "link", "br", "hr", "use", "path", "stop"}


class Checker(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not (self.stack and self.stack[-1] == "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def make(points: Any, label: str, **details: Any) -> Curve:
    header = {"model": "resnet", "data": "mnist", "split": "test", "examples": 10000}
    return Curve(label=label, points=tuple(point(*p) for p in points), details=details, **header)


CURVE, BASELINE = (
    make(MULTI_RATE, "multi-rate resnet", **DETAILS),
    make(BASELINES, "beta-VAE resnet", seconds=[60.0] * 4),
)


def fill(folder: Path) -> Path:
    """Make a run's folder with everything in it."""
    CURVE.save(folder / "curve.json")
    BASELINE.save(folder / "baselines" / "00-beta-vae.json")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    lines = [{"step": s, "epoch": 1, "loss": 2.0, "rate": 1.0, "distortion": 1.0, "seconds": s} for s in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    grid = image_grid(np.zeros((2, 3, 8, 8)), [0.1, 1.0])
    save(grid, folder / "figures" / "reconstructions.png")
    save(grid, folder / "figures" / "prior_samples.png")
    save(grid, folder / "figures" / "rate_distortion.png")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return fill(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(fill(tmp_path_factory.mktemp("run"))).read_text(encoding="utf-8")


def written(folder: Path, *baselines: Curve) -> tuple[str, Checker]:
    text = write_report(folder, baselines).read_text(encoding="utf-8")
    return text, Checker(text)


def test_the_page_asks_for_nothing_from_outside(whole: str) -> None:
    checked = Checker(whole)
    assert not checked.stack
    assert not [tag for tag, _ in checked.tags if tag in ("script", "link", "iframe", "object")]
    for _, attributes in checked.tags:
        for name in ("src", "href", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"url\(\s*['\"]?(?!#)", whole)
    assert "@import" not in whole


def test_the_page_can_be_read_without_seeing_it(whole: str) -> None:
    checked = Checker(whole)
    kinds = [tag for tag, _ in checked.tags]
    assert next(a for t, a in checked.tags if t == "html")["lang"] == "en"
    assert kinds.count("h1") == 1 and kinds.count("title") == 1
    for tag, attributes in checked.tags:
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg":
            assert attributes.get("role") == "img" and attributes.get("aria-label")
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
    assert kinds.count("caption") == kinds.count("table")
    ids = [a["id"] for _, a in checked.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {(a["href"] or "")[1:] for t, a in checked.tags if t == "a"}
    assert links and links <= set(ids)


def test_the_report_says_what_was_measured(whole: str) -> None:
    checked = Checker(whole)
    for expected in (
        "multi-rate resnet on mnist",
        "One model serves every β from 0.01 to 10",
        "\N{MINUS SIGN}95.50",
        "at most 5.20 nats",
        "1,881,217",
        "3,072 more for the response, 0.16%",
        "8 epochs",
        "84 min, batch 128, seed 0",
        "84 min for one model, 4 min for 4 baselines",
        "10,000 examples",
        "32 latents",
        "BD-rate",
        "multirate train --data mnist",
        "0123abc",
        "torch2.13.0",
        "How to read this",
        "warmup_stepsdefault",
    ):
        assert expected in checked.text
    cells = [cell for row in compare(CURVE, BASELINE).table() for cell in row]
    assert all(cell in checked.text for cell in cells)
    assert sum(tag == "img" for tag, _ in checked.tags) == 2
    assert sum(tag == "svg" for tag, _ in checked.tags) == 4
    assert [a.get("class") for t, a in checked.tags if t == "tr" and "class" in a] == ["marked"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("curve.json", "multirate evaluate"),
        ("baselines", "multirate sweep --betas 0.01,0.1,1,10"),
        ("config.yaml", "no config.yaml"),
        ("metrics.jsonl", "One model"),
        ("figures", "One model"),
    ],
)
def test_a_part_that_is_missing_is_named_with_its_remedy(run: Path, missing: str, remedy: str) -> None:
    part = run / missing
    for file in part.iterdir() if part.is_dir() else [part]:
        file.unlink()
    _, checked = written(run)
    assert remedy in checked.text


@pytest.mark.slow
def test_a_kept_comparison_stands_in_for_its_baselines(run: Path) -> None:
    compare(CURVE, BASELINE).save(run / "comparison.json")
    (run / "baselines" / "00-beta-vae.json").unlink()
    assert "at most 5.20 nats" in written(run)[1].text


@pytest.mark.slow
def test_baselines_can_be_given(run: Path) -> None:
    singles = [make([p], "others") for p in BASELINES]
    assert "Against others, its gap in D + βR is at most 5.20 nats" in written(run, *singles)[1].text


@pytest.mark.slow
def test_a_plain_run_has_a_report_too(tmp_path: Path) -> None:
    make(BASELINES[2:3], "beta-VAE resnet").save(tmp_path / "curve.json")
    assert "One model, for β = 1: rate 25.60" in written(tmp_path)[1].text


@pytest.mark.slow
def test_a_curve_that_is_nowhere_worse_is_told_so(run: Path) -> None:
    better = make([(b, r, d + 10) for b, r, d in MULTI_RATE], "others")
    assert "at least as good as others at 4 betas, by 10.00 nats on average" in written(run, better)[1].text


def test_a_folder_that_is_no_run_or_is_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="multirate train"):
        write_report(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"config\.yaml"):
        write_report(tmp_path)
    (tmp_path / "config.yaml").write_text("a: 1")
    (tmp_path / "curve.json").write_text("{}")
    with pytest.raises(DataError, match=r"curve\.json"):
        write_report(tmp_path)


def test_every_text_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'&"
    blocks = (
        Text(evil),
        Bullets((evil,)),
        Notice((evil,)),
        Code(evil),
        Facts(((evil, evil),)),
        Table([[evil, evil], [evil, evil]], evil, marked=0),
        Fold(evil, (Text(evil), Picture(evil, evil, png=b"x"), Picture(evil, evil, svg="<svg></svg>"))),
    )
    text = page(Report(evil, evil, evil, ((evil, evil, evil),), (Section(evil, blocks),), evil))
    assert "<script" not in text
    checked = Checker(text)
    assert not checked.stack
    assert checked.text.count("<script>alert(1)</script>\"'&") >= 20


@pytest.mark.slow
def test_a_hostile_label_stays_text(tmp_path: Path) -> None:
    make(MULTI_RATE, '<img src="http://x.invalid">&').save(tmp_path / "curve.json")
    _, checked = written(tmp_path)
    assert not [a for t, a in checked.tags if t == "img"]
    assert '<img src="http://x.invalid">& on mnist' in checked.text


def test_a_picture_is_one_of_two_kinds() -> None:
    for given in ({}, {"svg": "<svg/>", "png": b"x"}):
        with pytest.raises(UsageError, match="either"):
            Picture("a", "b", **given)


def test_the_page_is_of_a_size_that_can_be_mailed(whole: str) -> None:
    assert len(whole) < 1_000_000


OTHERS = {
    "examples": replace(BASELINE, examples=500),
    "data": replace(BASELINE, data="omniglot"),
    "likelihood": replace(BASELINE, details={"likelihood": "gaussian"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("given", [True, False], ids=["given", "in the folder"])
def test_baselines_that_cannot_be_compared_are_left_out_with_a_note(run: Path, what: str, given: bool) -> None:
    replace(CURVE, details={**CURVE.details, "likelihood": "bernoulli"}).save(run / "curve.json")
    BASELINE.save(run / "comparison.json")
    other = OTHERS[what]
    if not given:
        other.save(run / "baselines" / "00-beta-vae.json")
    _, checked = written(run, *([other] if given else []))
    note = f"baselines left out: beta-VAE resnet (β = 0.01, 0.1, 1, 10) differ in {what}; run multirate compare again"
    assert note in checked.text
    assert "There are no dedicated models to compare with yet" in checked.text


@pytest.mark.slow
def test_baselines_that_can_be_compared_stay_beside_those_that_cannot(run: Path) -> None:
    replace(BASELINE, examples=500, label="small").save(run / "baselines" / "01-small.json")
    _, checked = written(run)
    assert "baselines left out: small" in checked.text
    assert "Against beta-VAE resnet, its gap" in checked.text


@pytest.mark.slow
def test_baselines_off_the_curve_or_that_do_not_go_together_are_left_out(run: Path) -> None:
    _, checked = written(run, make([(50.0, 1.0, 190.0)], "beta-VAE"))
    assert "baselines left out: beta-VAE (β = 50) cannot be compared (no beta of" in checked.text
    twins = [replace(make([(0.1, 80.0, 45.0)], "twin"), seed=seed) for seed in (0, 1)]
    _, checked = written(run, *twins)
    assert "do not go together (cannot merge curves that differ in seed: 0, 1)" in checked.text


@pytest.mark.slow
def test_details_that_some_members_do_not_know_are_passed_over(run: Path) -> None:
    details = {"epochs": [8, None, 8, 8], "likelihood": None, "seconds": [1.0, None], "latents": [None, 3]}
    replace(CURVE, details=details).save(run / "curve.json")
    _, checked = written(run)
    assert not [words for words in ("[8", "[1.0", "[None", "None likelihood", "None]") if words in checked.text]
