"""Models on the Hugging Face Hub: weights, description, curve, figure and card; loaded without running any code."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from multirate.curve import Curve
from multirate.errors import DataError, UsageError
from multirate.experiments.run import open_run
from multirate.experiments.spec import VOCABULARY
from multirate.files import write_atomic
from multirate.inference import beta_of
from multirate.integrations.extras import require
from multirate.integrations.model_card import TAGS, Card, card_text
from multirate.integrations.parts import plain_at
from multirate.loading import load
from multirate.report.figures import rate_distortion
from multirate.report.style import save as save_figure
from multirate.saving import DESCRIPTION, TENSORS, save
from multirate.wrapper import MultiRate

CARD = "README.md"
CURVE = "curve.json"
FIGURE = "rate_distortion.png"
# All that is written, uploaded or downloaded: tensors, JSON, text and one picture.
FILES = (DESCRIPTION, TENSORS, CARD, CURVE, FIGURE, VOCABULARY)
EXTRA = "hub"
# The hub's own names: letters, digits, and signs that are neither first nor last.
_REPOSITORY = re.compile(r"[0-9A-Za-z_]([\w.-]*[0-9A-Za-z_])?/[0-9A-Za-z_]([\w.-]*[0-9A-Za-z_])?", re.ASCII)


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    run: str | Path | None = None,
    beta: float | None = None,
    curve: Curve | None = None,
    name: str | None = None,
    license: str | None = None,
) -> Path:
    """Write a model as the hub keeps it: what :func:`multirate.save` writes, curve, figure and model card.

    Args:
        model: plain or multi-rate.
        folder: made if it is missing; a ``README.md`` in it is kept.
        run: the folder of the run that made the model: its curve, its data and training for the card, a text's
            vocabulary.
        beta: fold the model at this beta first; the curve stays that of the multi-rate model.
        curve: of the model, in place of the run's.
        name: ``USER/NAME`` of the repository, for the card; by default the folder's.
        license: identifier of the model's licence, such as ``apache-2.0``; nothing is said if it is None.

    Returns:
        The folder.

    Raises:
        UsageError: if huggingface_hub is not installed, or beta is given for a plain model.
        BetaError: if beta is outside the model's range.
        DataError: if the run is none or not finished, or a file cannot be written.
    """
    library = require("huggingface_hub", extra=EXTRA)
    folder = Path(folder)
    folded_at = None if beta is None else beta_of(model, beta)
    model = plain_at(model, beta)
    known = _known(model, None if run is None else Path(run), folded_at, curve)
    if (folder / DESCRIPTION).exists():  # an earlier model's, whose curve and figure are not this one's
        for file in (CURVE, FIGURE):
            (folder / file).unlink(missing_ok=True)
    save(model, folder, {} if known["beta"] is None else {"beta": known["beta"]})
    drawn = known["curve"] is not None and len(known["curve"]) > 1
    if known["curve"] is not None:
        known["curve"].save(folder / CURVE)
    if drawn:
        save_figure(rate_distortion(known["curve"]), folder / FIGURE)
    words = None if run is None else Path(run) / VOCABULARY
    if words is not None and words.exists():
        write_atomic(folder / VOCABULARY, words.read_bytes())
    if not (folder / CARD).exists():
        about = Card(
            name or folder.name,
            figure=FIGURE if drawn else None,
            vocabulary=words is not None and words.exists(),
            **known,
        )
        data = {"library_name": "multirate", "tags": list(TAGS), "license": license}
        if str(known["data"]).startswith("hf:"):
            data["datasets"] = [str(known["data"]).removeprefix("hf:")]
        header = library.ModelCardData(**data).to_yaml()
        write_atomic(folder / CARD, f"---\n{header}\n---\n\n{card_text(model, about)}")
    return folder


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    run: str | Path | None = None,
    beta: float | None = None,
    curve: Curve | None = None,
    license: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    overwrite_card: bool = False,
    token: str | None = None,
    message: str = "Add a model made with multirate",
) -> str:
    """Upload a model in one commit; the repository is made if it is missing.

    Args:
        model: plain or multi-rate.
        repo_id: ``USER/NAME``.
        run: as in :func:`save_pretrained`.
        beta: as in :func:`save_pretrained`.
        curve: as in :func:`save_pretrained`.
        license: as in :func:`save_pretrained`.
        private: whether a repository that is made is private; None is the account's default.
        revision: branch; ``main`` by default.
        create_pr: propose the commit instead of making it.
        overwrite_card: write the card anew where the repository has one, which its author may have edited.
        token: of the account; by default the one of ``hf auth login`` or ``HF_TOKEN``.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        UsageError: as :func:`save_pretrained`, or if the id is not ``USER/NAME``.
        BetaError: as :func:`save_pretrained`.
        DataError: as :func:`save_pretrained`, or if the hub refuses or does not answer.
    """
    library = require("huggingface_hub", extra=EXTRA)
    _check_id(repo_id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_pretrained(model, temporary, run=run, beta=beta, curve=curve, name=repo_id, license=license)
        with _asking(repo_id):
            api = library.HfApi(token=token, library_name="multirate")
            api.create_repo(repo_id, private=private, exist_ok=True)
            kept = not overwrite_card and api.file_exists(repo_id, CARD, revision=revision)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                allow_patterns=[file for file in FILES if not (kept and file == CARD)],
                delete_patterns=[file for file in FILES if file != CARD and not (folder / file).exists()],
                revision=revision,
                create_pr=create_pr,
                commit_message=message,
            )
    return str(commit.pr_url if create_pr else commit.commit_url)


def from_pretrained(
    repo_or_folder: str | Path,
    base: nn.Module | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> nn.Module:
    """Load a model from the hub, or from a folder that :func:`save_pretrained` or :func:`multirate.save` wrote.

    Tensors and JSON are all that is read; nothing in a repository is executed.

    Args:
        repo_or_folder: a folder, or ``USER/NAME`` on the hub.
        base: an instance of the saved VAE's class, needed unless it is a built-in network; it is copied.
        revision: branch, tag or commit on the hub; name a commit to have the same model for ever.
        cache_dir: where downloads are kept, in place of huggingface_hub's cache.
        local_files_only: use what was downloaded before, without asking the hub.
        token: for a private repository.

    Returns:
        The plain or multi-rate model, in evaluation mode, on the CPU.

    Raises:
        UsageError: as :func:`download`.
        DataError: as :func:`download` and :func:`multirate.load`.
        ConversionError: as :func:`multirate.load`.
    """
    options: dict[str, Any] = {"cache_dir": cache_dir, "local_files_only": local_files_only, "token": token}
    return load(download(repo_or_folder, revision=revision, **options), base)


def download(
    repo_or_folder: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> Path:
    """Fetch a model's files: tensors, description, card, curve, figure and vocabulary, and no others.

    Args:
        repo_or_folder: as in :func:`from_pretrained`; a folder is returned as it is.
        revision: as in :func:`from_pretrained`.
        cache_dir: as in :func:`from_pretrained`.
        local_files_only: as in :func:`from_pretrained`.
        token: as in :func:`from_pretrained`.

    Returns:
        The folder, in the cache: ``multirate.Curve.load(folder / "curve.json")`` is the model's curve.

    Raises:
        UsageError: if it is neither a folder nor of the form ``USER/NAME``, a revision is asked of a folder, or
            huggingface_hub is not installed.
        DataError: if the hub has no such repository or revision or does not answer, or the repository holds no model.
    """
    folder = Path(repo_or_folder)
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{folder} is a folder, which has no revision {revision!r}; leave it out")
        return folder
    repo_id = str(repo_or_folder)
    _check_id(repo_id)
    library = require("huggingface_hub", extra=EXTRA)
    with _asking(repo_id if revision is None else f"{repo_id} at {revision}"):
        found = library.snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=list(FILES),
            library_name="multirate",
        )
    if not (Path(found) / DESCRIPTION).is_file():
        raise DataError(f"{repo_id} on the hub has no {DESCRIPTION}; it is no model that multirate wrote")
    return Path(found)


def _known(model: nn.Module, run: Path | None, folded_at: float | None, curve: Curve | None) -> dict[str, Any]:
    """Return what the card says beside the model: its curve, beta, data and training."""
    beta, data, training = folded_at, None if curve is None else curve.data, {} if curve is None else curve.details
    if run is not None:
        done = open_run(run)
        training = {**done.details, "training_batch_size": done.details.get("batch_size"), **training}
        data = _public_name(done.spec.data)
        beta = done.beta if beta is None else beta
        if curve is None and (run / CURVE).exists():
            curve = Curve.load(run / CURVE)
    if beta is None and curve is not None and len(curve) == 1:
        beta = curve.points[0]["beta"]
    alone = None if isinstance(model, MultiRate) else beta
    return {"curve": curve, "beta": alone, "folded": folded_at is not None, "data": data, "training": training}


def _public_name(data: str) -> str:
    """Return the name of a data set; of data of one's own the last folder: the rest of a path is nobody's business."""
    name = data.removeprefix("hf:")
    on_hub = data != name and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) and not Path(name).exists()
    return data if on_hub else Path(name).name


def _check_id(repo_id: str) -> None:
    if not _REPOSITORY.fullmatch(repo_id):
        raise UsageError(f"{repo_id!r} is no folder and no repository, which is written USER/NAME; check the path")


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turn the errors of the hub and of the network into one line."""
    from huggingface_hub import errors

    # Of the library beneath, which has changed its name more than once; the hub's own answers come before.
    network: type[Exception] = getattr(errors, "HTTPError", OSError)
    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{what} is no name of a repository: {_line(error)}") from error
    except errors.GatedRepoError as error:
        raise DataError(f"{what} on the hub is gated: accept its terms there, then pass token=...") from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(f"the hub has no {what}, or not for you: check the name, or pass token=...") from error
    except errors.RevisionNotFoundError as error:
        raise DataError(f"the hub has no {what}; check the revision") from error
    except errors.LocalEntryNotFoundError as error:
        raise DataError(f"{what} was not downloaded before and the hub cannot be reached; check the network") from error
    except errors.HfHubHTTPError as error:
        raise DataError(f"the hub refused {what}: {_line(error)}") from error
    except (OSError, network) as error:
        raise DataError(f"the hub cannot be reached for {what}: {_line(error)}; check the network") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
