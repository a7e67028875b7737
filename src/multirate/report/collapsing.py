"""The section of a run's report that says where its curve collapses."""

from multirate.collapse import Collapse
from multirate.report.page import Block, Facts, Fold, Section, Table


def collapse_section(found: Collapse) -> Section | None:
    """Write the section of a collapse report.

    Args:
        found: of the run's curve.

    Returns:
        Its facts, numbers at each beta and the fate of each latent; None where there is nothing to say.
    """
    facts = tuple(found.summary())
    if not facts:
        return None
    blocks: list[Block] = [Facts(facts)]
    columns = {"latents alive": [str(count) for count in found.alive]} if found.alive else {}
    for name, gaps in found.bound_gap.items():
        columns[f"above the bound ({name})"] = [_signed(f"{gap:.2f}") for gap in gaps]
    if columns:
        rows = [[f"{beta:.3g}", *cells] for beta, *cells in zip(found.betas, *columns.values(), strict=True)]
        caption = f"A latent is alive above {found.threshold:g} nats; bounds in nats an example"
        blocks.append(Fold("at each β", (Table([["beta", *columns], *rows], caption),)))
    if found.latents and len(found.betas) > 1:
        latents = [
            [str(index), latent.fate, "" if latent.beta is None else f"{latent.beta:.3g}", str(latent.reopens)]
            for index, latent in enumerate(found.latents)
        ]
        table = Table([["latent", "fate", "beta", "times reopened"], *latents], "Latents in the order of the model")
        blocks.append(Fold("each latent", (table,)))
    return Section("Where it collapses", tuple(blocks))


def _signed(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")
