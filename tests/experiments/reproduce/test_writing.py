"""What a recipe leaves: means and spread over seeds, claims, curves, and a page that links them."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from tests.experiments.reproduce import tiny
from tests.experiments.reproduce.tiny import RECIPE

from multirate.curve import Curve, point
from multirate.errors import UsageError
from multirate.experiments.reproduce.recipe import Measured, Results
from multirate.experiments.reproduce.writing import over_seeds, slug, write

SLUGS = [
    ("MR-VAE (paper's gates)", "mr-vae-papers-gates"),
    ("β-VAE", "beta-vae"),
    ("\N{GREEK SMALL LETTER SIGMA}-VAE", "sigma-vae"),
    ("MNIST, ResNet", "mnist-resnet"),
    ("a = 0.01", "a-0.01"),
    ("Fréchet / Inception", "frechet-inception"),
    ("??", "x"),
]
FILES = ["claims.json", "claims.md", "curves", "figure.pdf", "figure.png", "index.md", "numbers.json"]
TABLE = """\
| claim | paper | here | holds at this budget |
| --- | --- | --- | --- |
| the rate falls \\| rises | falls | 9 to 1 | yes |
| the rate is negative | never | 1 | no |
"""


def curve(rates: list[float], **details: object) -> Curve:
    rows = [point(beta, rate, 50.0) for beta, rate in zip((0.1, 1.0), rates, strict=True)]
    return Curve("x", "mlp", "digits", "test", 100, tuple(rows), details=dict(details))


@pytest.fixture
def results() -> Results:
    folders = ((Path("runs/a"),), (Path("runs/b"),))
    first = Measured(tiny.MULTI_RATE, (curve([9.0, 1.0], seconds=2.0), curve([5.0, 4.0], seconds=3.5)), folders)
    pairs = tuple((Path(f"runs/c{seed}"), Path(f"runs/d{seed}")) for seed in tiny.SEEDS)
    # Joining keeps one value where all are equal: two runs of one second each.
    both = Measured(tiny.DEDICATED, (curve([8.0, 2.0], seconds=1.0), curve([8.0, 2.0], seconds=[1.0, 4.0])), pairs)
    arms = {(one.arm.panel, one.arm.label): one for one in (first, both)}
    return Results("smoke", arms, numbers={"least": 1.0})


def test_spread_over_seeds_is_that_of_a_sample() -> None:
    low, high = over_seeds([curve([9.0, 1.0]), curve([5.0, 4.0]), curve([7.0, 1.0])])
    assert (low["beta"], high["beta"]) == (0.1, 1.0)
    assert low["rate"] == {"mean": 7.0, "min": 5.0, "max": 9.0, "standard_deviation": 2.0}
    assert high["rate"]["standard_deviation"] == pytest.approx(3**0.5)
    assert low["objective"]["mean"] == pytest.approx(50.7)
    assert over_seeds([curve([9.0, 1.0])])[0]["rate"] == {"mean": 9.0}


def test_seeds_of_other_betas_have_no_mean() -> None:
    other = dataclasses.replace(curve([1.0, 1.0]), points=(point(0.2, 1.0, 1.0), point(1.0, 1.0, 1.0)))
    with pytest.raises(UsageError, match="different betas"):
        over_seeds([curve([1.0, 1.0]), other])


def test_numbers_say_how_they_were_made(results: Results, tmp_path: Path) -> None:
    write(RECIPE, results, tmp_path, scores={"a": 3.0, "b": float("inf")})
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert (numbers["recipe"], numbers["scale"], numbers["budget"]) == ("tiny", "smoke", "192 digits, 2 epochs")
    assert numbers["command"] == "multirate reproduce tiny --scale smoke"
    assert (numbers["seeds"], numbers["runs"], numbers["numbers"]) == ([0, 1], 6, {"least": 1.0})
    assert numbers["candidates"] == {"a": 3.0, "b": None}
    assert "torch" in numbers["versions"]
    first, second = numbers["arms"]
    assert (first["panel"], first["label"], first["kind"], first["training_seconds"]) == (
        "digits, one",
        "MR-VAE",
        "multi-rate",
        5.5,
    )
    assert (second["runs"], second["training_seconds"]) == ([["c0", "d0"], ["c1", "d1"]], 7.0)


def test_everything_is_written_and_the_page_links_what_is_there(results: Results, tmp_path: Path) -> None:
    write(RECIPE, results, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    page = (tmp_path / "index.md").read_text()
    assert TABLE in page
    assert (tmp_path / "claims.md").read_text() == f"# A tiny recipe: claims\n\n{TABLE}"
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert all((tmp_path / link).is_file() for link in links)
    assert {f"curves/{path.name}" for path in (tmp_path / "curves").iterdir()} <= set(links)
    assert Curve.load(tmp_path / "curves" / "digits-one-mr-vae-s1.json").rates.tolist() == [5.0, 4.0]
    assert [claim["holds"] for claim in json.loads((tmp_path / "claims.json").read_text())] == [True, False]


@pytest.mark.slow
def test_what_was_there_is_replaced(results: Results, tmp_path: Path) -> None:
    write(RECIPE, results, tmp_path)
    figure = (tmp_path / "figure.png").read_bytes()
    fewer = Results("smoke", dict(list(results.arms.items())[:1]), results.numbers)
    write(RECIPE, fewer, tmp_path)
    assert sorted(path.stem for path in (tmp_path / "curves").iterdir()) == [f"digits-one-mr-vae-s{s}" for s in (0, 1)]
    assert (tmp_path / "figure.png").read_bytes() != figure


@pytest.mark.parametrize(("text", "name"), SLUGS)
def test_names_of_files_are_plain(text: str, name: str) -> None:
    assert slug(text) == name


def test_curves_whose_names_become_one_have_files_of_their_own(results: Results, tmp_path: Path) -> None:
    (first, second) = results.arms.values()
    twin = dataclasses.replace(second, arm=dataclasses.replace(second.arm, label="MR VAE"))
    same = Results("smoke", {("digits, one", "MR-VAE"): first, ("digits, one", "MR VAE"): twin}, results.numbers)
    write(RECIPE, same, tmp_path)
    assert len(list((tmp_path / "curves").iterdir())) == 4
