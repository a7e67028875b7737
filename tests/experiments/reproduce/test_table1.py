"""Table 1: counts of parameters, by hand, and that its claims can fail."""

import dataclasses
import math

import pytest

from multirate.data.catalog import DATA_SETS
from multirate.experiments.reproduce import table1
from multirate.experiments.reproduce.recipe import SCALES, Results
from multirate.models import build

EMPTY = Results("smoke", {})


@pytest.fixture(scope="module")
def results() -> Results:
    return dataclasses.replace(EMPTY, numbers=table1.numbers(EMPTY))


def test_nothing_is_trained() -> None:
    assert all(table1.arms(scale) == () for scale in SCALES)


@pytest.mark.slow
def test_the_resnet_on_mnist_has_the_papers_counts(results: Results) -> None:
    found = results.numbers["MNIST, ResNet"]
    assert math.floor(found["base"] / 1000) == 1881
    assert found["paper_gates"] == 3_072
    claim = table1.claims(results)[0]
    assert claim.holds
    assert (claim.paper, claim.ours) == ("1.881 M and 3,072", "1,881,217 and 3,072")


@pytest.mark.slow
def test_every_row_of_the_papers_experiments_is_there(results: Results) -> None:
    titles = set(results.numbers)
    images = ("MNIST", "Omniglot", "CIFAR-10", "SVHN", "CelebA")
    assert titles == {
        "MNIST, linear",
        *(f"{data}, {model}" for data in images for model in ("ConvNet", "ResNet")),
        "Yahoo, LSTM",
        *(f"{data}, NVAE" for data in ("MNIST", "Omniglot", "CelebA")),
    }
    latents = {title: found["latents"] for title, found in results.numbers.items()}
    assert (latents["CIFAR-10, ResNet"], latents["SVHN, ResNet"], latents["CelebA, ConvNet"]) == (256, 32, 64)


@pytest.mark.slow
def test_the_linear_vae_is_counted_as_by_hand(results: Results) -> None:
    found = results.numbers["MNIST, linear"]
    encoder = (784 * 32 + 32) + (32 * 32 + 32) + (32 + 32)
    decoder = (32 * 32 + 32) + (32 * 784 + 784)
    assert found["base"] == encoder + decoder
    assert found["paper_gates"] == 2 * (32 + 32 + 32 + 32 + 784)


def test_a_model_without_memory_has_as_many_parameters_as_one_with() -> None:
    size = next(size for size in table1.SIZES if size.title == "CelebA, ResNet")
    model = build("resnet", shape=DATA_SETS["celeba"].shape, **size.options)
    assert table1.count(size).base == sum(p.numel() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "change", "failures"),
    [("MNIST, ResNet", {"paper_gates": 3_073}, 1), ("SVHN, ConvNet", {"paper_gates": 1_000_000}, 1)],
)
def test_a_wrong_count_or_too_many_gates_fail_a_claim(
    results: Results, title: str, change: dict[str, int], failures: int
) -> None:
    before = sum(not claim.holds for claim in table1.claims(results))
    numbers = {**results.numbers, title: {**results.numbers[title], **change}}
    after = sum(not claim.holds for claim in table1.claims(dataclasses.replace(results, numbers=numbers)))
    assert after == before + failures


@pytest.mark.slow
def test_the_figure_has_every_count(results: Results) -> None:
    texts = [text.get_text() for text in table1.figure(results).axes[0].texts]
    assert {"1,881,217", "3,072 (+0.16%)", "1.881 M", "3,072"} <= set(texts)
    assert {size.title for size in table1.SIZES} <= set(texts)
