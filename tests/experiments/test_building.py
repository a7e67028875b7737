"""What a specification stands for: data, model, and that the two go together."""

from pathlib import Path

import pytest
import torch

from multirate.data import as_source
from multirate.data.loading import load
from multirate.errors import UsageError
from multirate.experiments.building import FirstExamples, build_model, builder_options, load_data
from multirate.experiments.spec import RunSpec

LINES = [f"a{i % 7} b{i % 5} c{i % 3}" for i in range(40)]
BITS = as_source(torch.tensor([0.0, 1.0]).repeat(80).reshape(10, 1, 4, 4), name="bits")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES) + "\n")
    return path


def test_options_of_the_network_are_read_as_yaml_and_passed_on() -> None:
    spec = RunSpec(hidden=(8, 4), latents=3, model_options=("decoder-activation=tanh",))
    options = builder_options(spec, BITS)
    assert options == {
        "shape": (1, 4, 4),
        "likelihood": "bernoulli",
        "latents": 3,
        "hidden": (8, 4),
        "decoder_activation": "tanh",
    }
    assert build_model(spec, BITS, seed=0).base.options["decoder_activation"] == "tanh"  # type: ignore[union-attr]


def test_the_number_of_latents_is_the_networks_own_unless_given() -> None:
    assert "latents" not in builder_options(RunSpec(), BITS)


@pytest.mark.parametrize("option", ["tanh", "=3", "width"])
def test_an_option_without_name_or_value_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="a model option is written name=value; got"):
        RunSpec(model_options=(option,))


@pytest.mark.parametrize("option", ["hidden=[8", "hidden={", "hidden=a: b: c"])
def test_a_value_that_is_no_yaml_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="a model option has a value in YAML"):
        RunSpec(model_options=(option,))


def test_text_brings_the_size_of_its_vocabulary(text: Path) -> None:
    source = load_data(RunSpec(data=str(text), model="lstm"), "train")
    assert source.vocabulary is not None
    assert builder_options(RunSpec(model="lstm"), source)["vocabulary_size"] == len(source.vocabulary)


def test_text_is_refused_by_a_model_of_images(text: Path) -> None:
    with pytest.raises(UsageError, match="is text, which model mlp does not take; choose --model lstm"):
        build_model(RunSpec(model="mlp"), load(text), seed=0)


def test_images_are_refused_by_a_model_of_text() -> None:
    with pytest.raises(UsageError, match="bits is no text, which model lstm does not take; choose --model mlp"):
        build_model(RunSpec(model="lstm"), BITS, seed=0)


def test_the_first_examples_keep_what_the_source_says(text: Path) -> None:
    source = load(text)
    few = FirstExamples(source, 5)
    assert len(few) == 5
    assert few.vocabulary is source.vocabulary
    assert few.likelihood == "categorical"
    assert torch.equal(few.batch(torch.arange(5)), source.batch(torch.arange(5)))


def test_a_hierarchical_model_of_bytes_gets_the_likelihood_of_bytes() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(24).reshape(2, 3, 32, 32)
    assert builder_options(RunSpec(model="nvae"), as_source(pixels))["likelihood"] == "discretized_logistic"
    assert builder_options(RunSpec(model="resnet"), as_source(pixels))["likelihood"] == "gaussian"
    assert builder_options(RunSpec(model="nvae"), as_source(pixels / 255.0))["likelihood"] == "gaussian"
    assert builder_options(RunSpec(model="nvae"), BITS)["likelihood"] == "bernoulli"
