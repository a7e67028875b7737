"""The report's section on collapse: facts, a table of betas and one of latents."""

from multirate.collapse import Collapse, LatentFate
from multirate.report.collapsing import collapse_section
from multirate.report.page import Facts, Fold, Table

FOUND = Collapse(
    label="a",
    betas=(0.1, 1.0),
    threshold=0.01,
    latents=(LatentFate("dies", 0.5, 1), LatentFate("never alive")),
    alive=(1, 0),
    moves=(0.2, 0.8),
    entropy=50.0,
    bound_gap={"entropy": (1.25, -0.5)},
)


def tables(found: Collapse) -> list[Table]:
    section = collapse_section(found)
    assert section is not None
    folds = [block for block in section.blocks if isinstance(block, Fold)]
    return [block for fold in folds for block in fold.blocks if isinstance(block, Table)]


def test_numbers_stand_at_each_beta_and_fates_at_each_latent() -> None:
    at_betas, of_latents = tables(FOUND)
    assert at_betas.rows == [
        ["beta", "latents alive", "above the bound (entropy)"],
        ["0.1", "1", "1.25"],
        ["1", "0", "\N{MINUS SIGN}0.50"],
    ]
    assert of_latents.rows[1:] == [["0", "dies", "0.5", "1"], ["1", "never alive", "", "0"]]


def test_the_facts_are_those_of_the_summary() -> None:
    section = collapse_section(FOUND)
    assert section is not None
    assert section.blocks[0] == Facts(tuple(FOUND.summary()))


def test_nothing_to_say_is_no_section() -> None:
    assert collapse_section(Collapse("a", (1.0,), 0.01)) is None
    assert tables(Collapse("a", (0.1, 1.0), 0.01, moves=(0.2, 0.8))) == []
