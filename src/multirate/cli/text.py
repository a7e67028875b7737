"""``multirate text``."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions
from multirate.errors import UsageError

if TYPE_CHECKING:
    from multirate.experiments.run import FinishedRun
    from multirate.experiments.sentences import Writer


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write sentences with a text run at one beta: its data again, draws from its prior, or the way between two.

    Example: multirate text runs/ptb --beta 0.1 --interpolate "the market fell" "the company said so" --decoding beam
    """

    run: PositionalRun
    """Folder of a finished run of model lstm."""
    beta: float | None = None
    """Beta to write at, in the range of a multi-rate run; a plain run has its own."""
    reconstruct: int | None = None
    """Write so many sentences of the data again, each from the mean of its posterior."""
    sample: int | None = None
    """Write so many sentences from draws of the prior, the same draws at every beta."""
    interpolate: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar='"FIRST" "SECOND"')] = None
    """Write sentences along the straight line between the posterior means of two."""
    steps: int | None = None
    """Sentences to write between two, both ends included, 7 by default; with interpolate."""
    decoding: Literal["greedy", "sample", "beam"] = "greedy"
    """Take the likeliest next word, draw it, or keep the best few beginnings."""
    beam: int | None = None
    """Beginnings kept, 5 by default; with decoding beam."""
    temperature: float | None = None
    """Draw from probabilities to the power 1/temperature, 1 by default; with decoding sample."""
    split: Literal["train", "validation", "test"] | None = None
    """Part of the data to reconstruct, test by default."""
    data: str | None = None
    """Text by name or path, in place of the run's; with reconstruct."""
    data_dir: str | None = None
    """Folder of the original data files, in place of the run's; with reconstruct."""
    seed: int = 0
    """Fixes all draws."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Write sentences and print them."""
    _check(options)
    from multirate.experiments.run import open_run
    from multirate.experiments.sentences import open_writer

    screen = Screen(options.shared)
    done = open_run(options.run, data=options.data)
    writer = open_writer(
        done,
        options.beta,
        method=options.decoding,
        width=5 if options.beam is None else options.beam,
        temperature=1.0 if options.temperature is None else options.temperature,
        seed=options.seed,
    )
    screen.say(f"beta {writer.beta:g}, decoding {options.decoding}")
    if options.reconstruct is not None:
        found = _reconstruct(screen, options, done, writer)
    elif options.sample is not None:
        found = _sample(screen, options.sample, writer)
    else:
        found = _interpolate(screen, options, writer)
    screen.result({"beta": writer.beta, "decoding": options.decoding, **found})


def _check(options: Options) -> None:
    """Refuse options that would do nothing, and none or several things to do."""
    actions = ("reconstruct", "sample", "interpolate")
    if sum(getattr(options, action) is not None for action in actions) != 1:
        raise UsageError('say what to write, one of --reconstruct N, --sample N, --interpolate "FIRST" "SECOND"')
    needs = {
        "steps": ("--interpolate", options.interpolate is not None),
        "beam": ("--decoding beam", options.decoding == "beam"),
        "temperature": ("--decoding sample", options.decoding == "sample"),
        "split": ("--reconstruct", options.reconstruct is not None),
        "data": ("--reconstruct", options.reconstruct is not None),
        "data_dir": ("--reconstruct", options.reconstruct is not None),
    }
    for name, (needed, given) in needs.items():
        value = getattr(options, name)
        if value is not None and not given:
            raise UsageError(f"--{name.replace('_', '-')} {value} goes with {needed} only; leave it out")


def _reconstruct(screen: Screen, options: Options, done: "FinishedRun", writer: "Writer") -> dict[str, Any]:
    from multirate.experiments.building import load_data
    from multirate.experiments.sentences import reconstruct

    source = load_data(done.spec, options.split or "test", options.data_dir)
    assert options.reconstruct is not None
    pairs = reconstruct(writer, source, options.reconstruct)
    for pair in pairs:
        screen.say(f"\n  {pair.sentence}\n> {pair.written.text}")
    about = {"data": source.name, "split": source.split}
    return {**about, "reconstructions": [asdict(pair) for pair in pairs]}


def _sample(screen: Screen, count: int, writer: "Writer") -> dict[str, Any]:
    from multirate.experiments.sentences import sample

    written = sample(writer, count)
    for sentence in written:
        screen.say(sentence.text)
    return {"seed": writer.seed, "samples": [asdict(sentence) for sentence in written]}


def _interpolate(screen: Screen, options: Options, writer: "Writer") -> dict[str, Any]:
    from multirate.experiments.sentences import interpolate

    assert options.interpolate is not None
    first, second = options.interpolate
    way = interpolate(writer, first, second, 7 if options.steps is None else options.steps)
    if way.unknown:
        screen.say(f"not in the vocabulary, read as <unk>: {' '.join(way.unknown)}")
    for share, sentence in way.steps:
        screen.say(f"{share:.2f}  {sentence.text}")
    steps = [{"share": share, **asdict(sentence)} for share, sentence in way.steps]
    return {"from": first, "to": second, "unknown": list(way.unknown), "steps": steps}
