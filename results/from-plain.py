"""Draws what results/from-plain.sh measured, and prints its table: python results/from-plain.py [mlp|convnet]."""

import json
import sys
from pathlib import Path

import numpy as np

import multirate as mr
from multirate.files import write_json
from multirate.report.style import BASELINE_COLORS, INK, MULTI_RATE_COLORS, log_beta_axis, new_figure, save, style

EPOCHS = (1, 2, 4, 8)
PAGE = Path(__file__).parents[1] / "docs" / "integrations" / "pretrained"
KINDS = {"fine-tuned": MULTI_RATE_COLORS[0], "scratch": BASELINE_COLORS[0]}


def main(model: str) -> None:
    """Draw D + beta R above that of the dedicated models, against beta, for each budget; write the table as JSON."""
    folder = Path(__file__).parent / "from-plain" / model
    curves = {f"{kind}-{n}": mr.Curve.load(folder / f"{kind}-{n}.json") for kind in KINDS for n in EPOCHS}
    dedicated = mr.Curve.load(folder / "dedicated.json")
    table = {name: {f"{beta:.3g}": value for beta, value in objectives(curve)} for name, curve in curves.items()}
    reference = dict(objectives(dedicated))
    with style():
        figure = new_figure(9.6, 3.0)
        for axes, epochs in zip(figure.subplots(1, len(EPOCHS), sharey=True), EPOCHS, strict=True):
            for kind, color in KINDS.items():
                rows = [(b, v - reference[nearest(b, reference)]) for b, v in objectives(curves[f"{kind}-{epochs}"])]
                known = [(b, gap) for b, gap in rows if min(abs(np.log(b / d)) for d in reference) < 1e-3]
                axes.plot(*zip(*known, strict=True), "o-", color=color, label=kind)
            axes.axhline(0, color=INK, lw=1)
            log_beta_axis(axes)
            axes.set_title(f"{epochs} epoch{'s' if epochs > 1 else ''}")
        figure.axes[0].set_ylabel("gap in D + βR to dedicated (nats)")
        figure.axes[-1].legend(loc="upper right")
    save(figure, PAGE / f"gaps-{model}.png")
    curves["fine-tuned-8"].save(PAGE / f"curve-{model}.json")
    table["dedicated, 8"] = {f"{beta:.3g}": value for beta, value in reference.items()}
    write_json(folder / "objectives.json", table)
    print(json.dumps(table, indent=1))


def objectives(curve: mr.Curve) -> list[tuple[float, float]]:
    """Return beta and D + beta R of each point."""
    return [(point["beta"], point["objective"]) for point in curve.points]


def nearest(beta: float, known: dict[float, float]) -> float:
    """Return the known beta that is nearest in log."""
    return min(known, key=lambda other: abs(np.log(other / beta)))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "mlp")
