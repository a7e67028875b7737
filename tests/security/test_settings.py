"""Settings cannot name code: YAML is plain values, options are known names, the environment names files and folders."""

from pathlib import Path
from typing import Any

import pytest

from multirate.cli.main import main
from multirate.errors import DataError, UsageError
from multirate.metrics.features import NETWORKS, feature_network
from multirate.metrics.options import MeasureOptions
from multirate.models import build
from multirate.objectives.builders import by_name
from multirate.yamlfile import parse_yaml, read_yaml

TAGS = [
    "!!python/object/apply:os.system ['touch made']",
    "!!python/object/new:os.system ['touch made']",
    "!!python/object:os.system {}",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!python/tuple [1, 2]",
    "!!binary aGVsbG8=",
    "!!set {a: null}",
    "!!omap [a: 1]",
    "!!timestamp 2020-01-01",
    "!own {a: 1}",
]


@pytest.mark.parametrize("text", TAGS)
@pytest.mark.parametrize("form", ["{}", "data: {}", "[{}]", "? {}\n: 1"])
def test_yaml_makes_no_objects(text: str, form: str) -> None:
    with pytest.raises(ValueError):
        parse_yaml(form.format(text))


def test_yaml_values_are_those_of_json() -> None:
    text = "a: 1\nb: [1.5, yes, ~, text]\nc: {d: 2020-01-01}\n"
    assert parse_yaml(text) == {"a": 1, "b": [1.5, True, None, "text"], "c": {"d": "2020-01-01"}}


def test_aliases_do_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ValueError, match="longer than"):
        parse_yaml("\n".join(lines))


def test_a_configuration_with_code_in_it_is_one_line_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(f"data: {TAGS[0]}\n")
    assert main(["train", "--config", "config.yaml", "--out", "run"]) in (1, 2)
    assert "config.yaml" in capsys.readouterr().err
    with pytest.raises(DataError):
        read_yaml(tmp_path / "config.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]


NAMES = ["os.system", "os:system", "torch.nn.Linear", "__class__", "../x", "builtins.eval", "multirate.models.mlp"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_of_a_list(name: str) -> None:
    asked: dict[str, Any] = {
        "model": lambda: build(name),
        "objective": lambda: by_name(name, dataset_size=9),
        "network": lambda: feature_network(MeasureOptions(feature_network=name)),
    }
    for ask in asked.values():
        with pytest.raises(UsageError):
            ask()
    assert set(NETWORKS) == {"efficientnet_lite0", "inception"}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--data", "--model", "--objective", "--response", "--optimizer", "--likelihood"])
def test_no_option_of_the_command_line_takes_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "evil_module.py").write_text("from pathlib import Path\nPath('made').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for value in ("evil_module", "evil_module:run", "evil_module.py"):
        assert main(["train", option, value, "--out", "run"]) in (1, 2)
    assert not (tmp_path / "made").exists()
    assert "Traceback" not in capsys.readouterr().err
