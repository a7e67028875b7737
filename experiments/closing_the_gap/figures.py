"""The figures of docs/closing-the-gap.md: ``python experiments/closing_the_gap/figures.py``."""

import json
from pathlib import Path
from typing import Any

from table import TABLE, gaps, read_rows

from multirate.report.style import (
    BASELINE_COLORS,
    INK,
    MULTI_RATE_COLORS,
    MUTED,
    log_beta_axis,
    new_figure,
    save,
    style,
)

RESULTS = TABLE.parent
FIGURES = RESULTS / "figures"


def _starts_as_torch(trial: Any) -> bool:
    return bool(trial.initial_weights == "torch" and trial.initial_scale == 1)


_PARTS = (
    ("two or four betas an example", INK, lambda trial: trial.betas_per_example > 1),
    ("torch's weights, cosine decay", MUTED, lambda trial: trial.decay == "cosine"),
    ("torch's weights, late decay", BASELINE_COLORS[2], _starts_as_torch),
    ("He's variance, late decay", BASELINE_COLORS[0], lambda trial: not _learns(trial)),
    ("and learnt thresholds", MULTI_RATE_COLORS[2], lambda trial: trial.degree == 1),
    ("and cubic gates", MULTI_RATE_COLORS[0], lambda trial: True),
)


def _learns(trial: Any) -> bool:
    return bool(trial.gated_latents) and trial.threshold_learning_rate != 0


def trade(rows: list[dict[str, Any]]) -> Any:
    """Draw each MLP trial's gap at beta 10 against its gap at beta 0.01, colored by what it has."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    left = [gap for gap in gaps(rows) if gap.trial.model == "mlp" and gap.trial.epochs == 8 and gap.trial.low == 0.01]
    left = [gap for gap in left if {0.01, 0.1, 1.0, 10.0} <= set(gap.gap)]
    for label, color, belongs in _PARTS:
        chosen = [gap for gap in left if belongs(gap.trial)]
        left = [gap for gap in left if not belongs(gap.trial)]
        points = [(gap.gap[0.01], gap.gap[10.0]) for gap in chosen]
        axes.scatter(*zip(*points, strict=True), s=26, color=color, label=label, edgecolor="white", linewidth=0.5)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(
        xlabel="gap at β = 0.01, nats per example",
        ylabel="gap at β = 10, nats per example",
        title="Density and gates move the gap along a front",
        xlim=(-0.5, 10.5),
        ylim=(-0.5, 12.5),
    )
    axes.legend(loc="upper right")
    return figure


def agreement(record: dict[str, Any]) -> Any:
    """Draw the cosines between mean gradients of each two betas, and the noise of one batch's gradient."""
    figure = new_figure(8.4, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    labels = [f"{beta:.2g}" for beta in record["betas"]]
    image = left.imshow(record["cosines"], vmin=-1, vmax=1, cmap="RdBu")
    for row, line in enumerate(record["cosines"]):
        for column, value in enumerate(line):
            color = "white" if abs(value) > 0.6 else INK
            left.text(column, row, f"{round(value, 1) + 0.0:.1f}", ha="center", va="center", fontsize=7.5, color=color)
    left.set_xticks(range(len(labels)), labels)
    left.set_yticks(range(len(labels)), labels)
    left.grid(False)
    left.set(xlabel="β", ylabel="β", title="Cosine of mean gradients")
    figure.colorbar(image, ax=left, shrink=0.85)
    right.loglog(record["betas"], record["variance"], "o-", color=MULTI_RATE_COLORS[0], label="noise of a batch")
    right.loglog(
        record["betas"], record["posterior_variance"], "^:", color=MULTI_RATE_COLORS[2], label="of it, posterior's"
    )
    right.loglog(record["betas"], record["squared_mean"], "s--", color=BASELINE_COLORS[0], label="squared mean")
    log_beta_axis(right)
    right.set(title="Gradient at one β", ylim=(0.5 * min(record["posterior_variance"]), None))
    right.legend(loc="lower right")
    return figure


def main() -> None:
    """Write both figures beside the table."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    last = json.loads((RESULTS / "gradients.json").read_text(encoding="utf-8"))[-1]
    with style():
        for name, figure in (("trade.png", trade(read_rows(Path(TABLE)))), ("gradients.png", agreement(last))):
            save(figure, FIGURES / name)


if __name__ == "__main__":
    main()
