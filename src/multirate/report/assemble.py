"""The report of a run's folder: reads what is there, says how to make what is not, and writes ``report.html``."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multirate.comparison import Comparison, signed
from multirate.curve import Curve
from multirate.errors import DataError
from multirate.files import write_atomic
from multirate.report import figures
from multirate.report.collapsing import collapse_section
from multirate.report.page import (
    Block,
    Bullets,
    Code,
    Facts,
    Fold,
    Link,
    Notice,
    Picture,
    Report,
    Section,
    Table,
    Text,
    page,
)
from multirate.report.run import EXPLORER, RunFiles, read_run
from multirate.report.style import to_svg
from multirate.text import spoken

_CAPTIONS = {
    "reconstructions": "Reconstructions from the posterior mean, so without noise: a row a β, a column an input.",
    "prior_samples": "Samples from the prior: a row a β, and in each column the same latent vector at every β.",
    "measures": "Further measures along the curve.",
    "group_rates": "How the rate splits among the groups of latents.",
    "latent_rates": "The rate of each latent along β, the busiest on top; grey where it is dead. The line counts those "
    "alive.",
    "isometric_importance": "How much each latent carries, as a variance in the space that is isometric to the data: "
    "βE[1/σ²] up to a factor. An unused latent has about β.",
}
_HOW_TO_READ = (
    "Rate is KL(q(z|x) || p(z)): how many nats the latents carry about an example. Distortion is the mean of "
    "-log p(x|z): how many nats the decoder still lacks. Constants are kept.",
    "Each point of the curve is the same network at another β. A small β buys a low distortion with a high rate "
    "(to the right), a large one the reverse. A curve that lies further down and to the left is better.",
    "The ELBO is -(D + R) and the objective is D + βR. A dedicated β-VAE minimises the objective at its own β, so the "
    "gap in it is the price of one network for all β: above 0 the multi-rate model is worse, below 0 better.",
    "BD-rate is the mean percentage of rate that the multi-rate model needs beyond the baselines for equal distortion; "
    "BD-distortion is the nats of distortion beyond them at equal rate. Both cover what the two curves share.",
    "Every β was measured on the same examples with the same noise. Differences of a few hundredths of a nat between "
    "models may still be noise; more samples per example make it smaller.",
)


def write_report(folder: str | Path, baselines: Sequence[Curve] = ()) -> Path:
    """Write the self-contained report of a run.

    Reads ``config.yaml``, ``metrics.jsonl``, ``curve.json``, ``baselines/*.json`` (or else ``comparison.json``) and
    ``figures/*.png``, as far as they are there; the page names the command that makes what is missing.

    Args:
        folder: of the run.
        baselines: in place of those in the folder.

    Returns:
        Path of ``report.html`` in the folder.

    Raises:
        DataError: if the folder holds neither a configuration nor a curve, a file is damaged, or the page cannot be
            written.
    """
    run = read_run(Path(folder), baselines)
    return write_atomic(run.folder / "report.html", page(_report(run)))


def _report(run: RunFiles) -> Report:
    model, data = _part(run.config, "model", "name"), _part(run.config, "data", "name")
    title = f"{run.curve.label} on {run.curve.data}" if run.curve else f"{model or 'a model'} on {data or 'data'}"
    version = _part(run.config, "versions", "multirate")
    facts = [f"measured {run.measured}" if run.measured else "", f"multirate {version}" if version else ""]
    sections = [
        _curve_section(run),
        _explorer_section(run),
        _comparison_section(run),
        None if run.collapse is None else collapse_section(run.collapse),
        _pictures_section(run),
        _sentences_section(run),
        _table_section(run),
        Section("How to read this", (Bullets(_HOW_TO_READ),)),
        _settings_section(run),
    ]
    return Report(
        title=title,
        subtitle=", ".join(fact for fact in [_measurement(run.curve), *facts] if fact),
        lead=_lead(run),
        cards=tuple(_cards(run)),
        sections=tuple(section for section in sections if section is not None),
        footer="All logarithms are natural; rates and distortions are in nats per example.",
    )


def _lead(run: RunFiles) -> str:
    curve = run.curve
    if curve is None:
        return f"This run has not been measured yet. Run: multirate evaluate {_quoted(run)}"
    if len(curve) == 1:
        known = curve.points[0]
        return (
            f"One model, for {_beta(known['beta'])}: rate {known['rate']:.2f}, distortion {known['distortion']:.2f} "
            f"and ELBO {_number(known['elbo'])} nats per example."
        )
    first, last, best = curve.points[0], curve.points[-1], curve.at(curve.best())
    rates, distortions = (f"{{:{_form(values.tolist())}}}".format for values in (curve.rates, curve.distortions))
    one = "One model serves every β" if "beta_range" in curve.details else "There is a point for each of several β"
    text = (
        f"{one} from {first['beta']:.3g} to {last['beta']:.3g}: the rate goes from {rates(first['rate'])} down to "
        f"{rates(last['rate'])} nats per example, the distortion from {distortions(first['distortion'])} up to "
        f"{distortions(last['distortion'])}. The best ELBO is {_number(best['elbo'])}, at {_beta(best['beta'])}."
    )
    return " ".join([text, *(_verdict(comparison) for comparison in run.comparisons)])


def _verdict(comparison: Comparison) -> str:
    worst, mean = comparison.worst, comparison.mean_gap
    betas = f"{len(comparison.gaps)} betas" if len(comparison.gaps) > 1 else _beta(worst.beta)
    if worst.gap > 0:
        return (
            f"Against {comparison.baseline}, its gap in D + βR is at most {worst.gap:.2f} nats "
            f"(at {_beta(worst.beta)}) and {signed(mean)} on average over {betas}."
        )
    return f"In D + βR it is at least as good as {comparison.baseline} at {betas}, by {abs(mean):.2f} nats on average."


def _cards(run: RunFiles) -> list[tuple[str, str, str]]:
    cards: list[tuple[str, str, str]] = []
    curve, config = run.curve, run.config
    # A merged curve has lists of what its members differ in, with None where one does not know.
    details = {} if curve is None else {k: v for k, v in curve.details.items() if v is not None and type(v) is not list}
    if curve is not None:
        best, span = curve.at(curve.best()), f"nats per example, over β from {_span(curve.betas.tolist(), '.3g')}"
        cards.append(
            (
                "Best ELBO" if len(curve) > 1 else "ELBO",
                _number(best["elbo"]),
                f"nats per example, at {_beta(best['beta'])}",
            )
        )
        cards.append(("Rate", _span(curve.rates.tolist()), span))
        cards.append(("Distortion", _span(curve.distortions.tolist()), span))
    for comparison in run.comparisons[:1]:
        delta = "" if comparison.bd_rate is None else f"; BD-rate {signed(comparison.bd_rate)}%"
        cards.append(
            (
                "Worst gap to baselines",
                f"{signed(comparison.worst_gap)} nats",
                f"mean {signed(comparison.mean_gap)}{delta}",
            )
        )
    parameters, gates = (
        details.get("parameters", _part(config, "model", "parameters")),
        details.get("response_parameters"),
    )
    if isinstance(parameters, int):
        note = f"and {gates:,} more for the response, {gates / parameters:.2%}" if isinstance(gates, int) else "in all"
        cards.append(("Parameters", f"{parameters:,}", note))
    epochs = details.get("epochs", _part(config, "training", "epochs"))
    seconds = details.get("seconds", run.history[-1].get("seconds") if run.history else None)
    if epochs is not None:
        batch, seed = _part(config, "training", "batch_size"), _part(config, "training", "seed")
        notes = [_duration(seconds), f"batch {batch}" if batch else "", f"seed {seed}" if seed is not None else ""]
        cards.append(("Training", f"{epochs} epochs", ", ".join(note for note in notes if note)))
    if curve is not None:
        likelihood = f", {details['likelihood']} likelihood" if "likelihood" in details else ""
        cards.append(("Data", f"{curve.data} {curve.split}", f"{curve.examples:,} examples{likelihood}"))
        latents = details.get("latents", _part(config, "model", "options", "latents"))
        cards.append(("Model", curve.model, f"{latents} latents" if latents else ""))
    return cards


def _curve_section(run: RunFiles) -> Section:
    blocks: list[Block] = []
    if run.curve is None:
        blocks.append(Notice((f"There is no curve yet: multirate evaluate {_quoted(run)}",)))
    else:
        names = " and ".join([run.curve.label, *(baseline.label for baseline in run.baselines)])
        points = "; ".join(f"β {p['beta']:.3g}: {p['rate']:.1f}, {p['distortion']:.1f}" for p in _few(run.curve))
        if run.curve.warnings:
            blocks.append(Notice(tuple(f"Mind this: {message}." for message in run.curve.warnings)))
        blocks.append(
            Picture(
                caption=f"Rate and distortion of {names}. Lower and further left is better.",
                alt=f"Distortion falls as rate grows. Rate, distortion of {run.curve.label} at {points}.",
                svg=to_svg(figures.rate_distortion(run.curve, run.baselines), "rd"),
            )
        )
        blocks.append(
            Picture(
                caption="The same against β: rate, distortion, and the objective D + βR.",
                alt="Three panels against β on a logarithmic axis: rate falls, distortion grows, the objective grows.",
                svg=to_svg(figures.against_beta(run.curve, run.baselines), "beta"),
            )
        )
    try:
        trained = Picture(
            caption="Loss, distortion and rate during training.",
            alt="Loss, distortion and rate against the step of training.",
            svg=to_svg(figures.training(run.history), "training"),
        )
        blocks.append(Fold("How training went", (trained,)))
    except DataError:
        pass
    return Section("Rate-distortion curve", tuple(blocks))


def _explorer_section(run: RunFiles) -> Section | None:
    if not run.explorer:
        return None
    blocks = (
        Link(
            "Drag β and see the point move, the pictures change and the latents switch off:", "the explorer", EXPLORER
        ),
        Text("Its page comes from a web server. This command makes it again and serves it on this machine:"),
        Code(f"multirate explore {_quoted(run)}"),
    )
    return Section("Explorer", blocks)


def _comparison_section(run: RunFiles) -> Section | None:
    if run.curve is None:
        return None
    left_out = [Notice(tuple(run.left_out))] if run.left_out else []
    if not run.comparisons:
        betas = ",".join(f"{p['beta']:.3g}" for p in _few(run.curve))
        commands = f"multirate sweep --betas {betas} --out BASELINES\nmultirate compare {_quoted(run)} BASELINES"
        lead = Text(
            "There are no dedicated models to compare with yet. Train them with the same data and budget, then compare:"
        )
        return Section("Against dedicated models", (*left_out, lead, Code(commands)))
    blocks: list[Block] = [*left_out]
    for index, comparison in enumerate(run.comparisons):
        blocks.append(
            Picture(
                caption="Each gap is the difference of the objectives at the β that the baseline was trained for.",
                alt="Gaps: " + "; ".join(f"β {gap.beta:.3g}: {signed(gap.gap)} nats" for gap in comparison.gaps) + ".",
                svg=to_svg(figures.gaps(comparison), f"gaps{index}"),
            )
        )
        blocks.append(Facts((*comparison.summary(), *_cost(run.curve, run.baselines[index : index + 1]))))
        if comparison.notes:
            blocks.append(Notice(comparison.notes))
        blocks.append(Table(comparison.table(), f"{comparison.label} against {comparison.baseline}, nats per example"))
    return Section("Against dedicated models", tuple(blocks))


def _cost(curve: Curve, baselines: Sequence[Curve]) -> list[tuple[str, str]]:
    ours = curve.details.get("seconds")
    for baseline in baselines:
        theirs = baseline.details.get("seconds")
        numbers: list[Any] = [ours, *theirs] if isinstance(theirs, list) and theirs else [None]
        if all(isinstance(seconds, int | float) for seconds in numbers):
            total = _duration(math.fsum(numbers[1:]))
            return [("training time", f"{_duration(ours)} for one model, {total} for {len(numbers) - 1} baselines")]
    return []


def _pictures_section(run: RunFiles) -> Section | None:
    if run.curve is None:
        return None
    pictures = [
        Picture(
            caption=_CAPTIONS.get(path.stem, path.stem.replace("_", " ").capitalize()),
            alt=_CAPTIONS.get(path.stem, path.stem.replace("_", " ")),
            png=path.read_bytes(),
        )
        for path in sorted(run.pictures, key=lambda path: [*_CAPTIONS, path.stem].index(path.stem))
    ]
    return Section("What it draws", tuple(pictures)) if pictures else None


def _sentences_section(run: RunFiles) -> Section | None:
    if not run.sentences:
        return None
    rows = [(_beta(float(point["beta"])), point) for point in run.sentences]
    blocks: list[Block] = [Text("Written word by word from the posterior mean, the likeliest word each time.")]
    for index, text in enumerate(run.sentences[0]["inputs"]):
        written = [[beta, str(point["reconstructions"][index])] for beta, point in rows]
        blocks.append(Table([["β", "reconstruction"], *written], str(text), text=True))
    for index in range(len(run.sentences[0]["samples"])):
        written = [[beta, str(point["samples"][index])] for beta, point in rows]
        blocks.append(Table([["β", "sample"], *written], f"Prior draw {index + 1}, the same at every β", text=True))
    return Section("What it writes", tuple(blocks))


def _table_section(run: RunFiles) -> Section | None:
    if run.curve is None:
        return None
    curve = run.curve
    header, *rows = curve.table()
    marked = int(curve.values("elbo").argmax()) if len(curve) > 1 else None
    caption = f"{_measurement(curve)}; {curve.units}" + (
        "; the row of the best ELBO stands out" if marked is not None else ""
    )
    signed_rows = [[cell.replace("-", "\N{MINUS SIGN}") for cell in row] for row in rows]
    table = Table([[spoken(name) for name in header], *signed_rows], caption, marked)
    use = (
        Text("To take the model at one of these, or the β that reaches a wanted rate:"),
        Code(f"multirate choose {_quoted(run)} --rate {float(curve.rates[len(curve) // 2]):.3g}"),
    )
    return Section("The curve in numbers", (table, *(use if len(curve) > 1 else ())))


def _settings_section(run: RunFiles) -> Section:
    blocks: list[Block] = []
    command = run.config.get("command")
    if command:
        words = command if isinstance(command, str) else shlex.join(map(str, command))
        blocks += [Text("This run was made by:"), Code(words)]
    about = {"folder": str(run.folder), "commit": run.config.get("commit")} | (
        {} if run.curve is None else {"evaluation seed": run.curve.seed, "samples per example": run.curve.samples}
    )
    rows = [(name, str(value)) for name, value in about.items() if value is not None]
    blocks.append(Table([["what", "value"], *rows], "Record", text=True))
    for name, content in run.config.items():
        if isinstance(content, dict):
            listed = Table([["setting", "value"], *_flat(content)], f"config.yaml: {name}", text=True)
            blocks.append(Fold(name, (listed,)))
    if not run.config:
        blocks.append(Notice((f"There is no config.yaml in {run.folder}: the run was not made by multirate train.",)))
    return Section("Settings and versions", tuple(blocks))


def _flat(content: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", "default" if value is None else str(value)))
    return rows


def _part(config: dict[str, Any], *keys: str) -> Any:
    """Return an entry of nested dicts, or None where there is none."""
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _measurement(curve: Curve | None) -> str:
    if curve is None:
        return "not measured yet"
    count = f"{len(curve)} points" if len(curve) > 1 else "one point"
    return f"{count} on {curve.data} {curve.split}, {curve.examples:,} examples"


def _few(curve: Curve) -> list[dict[str, float]]:
    """Return up to four points of the curve, both ends included."""
    count = min(4, len(curve))
    return [curve.points[round(i * (len(curve) - 1) / max(count - 1, 1))] for i in range(count)]


def _quoted(run: RunFiles) -> str:
    return shlex.quote(str(run.folder))


def _beta(beta: float) -> str:
    """Write ``β = 0.1`` so that no line breaks in it."""
    return f"β = {beta:.3g}".replace(" ", "\N{NO-BREAK SPACE}")


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _form(values: Sequence[float]) -> str:
    """Return how to write nats of this size: one decimal, or two where all are below 10."""
    return ".1f" if max(map(abs, values)) >= 10 else ".2f"


def _span(values: Sequence[float], form: str | None = None) -> str:
    low, high = (format(value, form or _form(values)) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    whole = round(seconds)
    if whole < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
