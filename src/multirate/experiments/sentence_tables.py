"""What a text run writes at several betas, kept in its folder for the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multirate.data import Source
from multirate.experiments.run import FinishedRun
from multirate.experiments.sentences import open_writer, reconstruct, sample
from multirate.files import write_json
from multirate.inference import weight_of

SENTENCES = "sentences.json"
COUNT = 3


def write_sentences(run: FinishedRun, source: Source, betas: Sequence[float]) -> Path:
    """Write ``sentences.json``: the first sentences of the data again, and draws from the prior, at each beta.

    Words are chosen greedily, latents are posterior means, and the prior's draws are the same at every beta.

    Args:
        run: of text.
        source: the sentences, with the run's vocabulary.
        betas: of a multi-rate run, as its curve has them; a plain run has its own.

    Returns:
        The file.

    Raises:
        DataError: if the vocabulary is missing or another one, or the file cannot be written.
    """
    points: list[dict[str, Any]] = []
    for beta in betas:
        writer = open_writer(run, weight_of(run.model, beta))
        again = reconstruct(writer, source, COUNT)
        points.append(
            {
                "beta": beta,
                "inputs": [each.sentence for each in again],
                "reconstructions": [each.written.text for each in again],
                "samples": [each.text for each in sample(writer, COUNT)],
            }
        )
    return write_json(run.folder / SENTENCES, {"data": source.name, "split": source.split, "points": points})
