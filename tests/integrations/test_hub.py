"""Models for the Hugging Face Hub: folders truly, uploads and downloads against a stand-in on this machine."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.integrations.hub_server import TOKEN, fake_hub
from torch import nn

import multirate as mr
from multirate import models
from multirate.cli.main import main
from multirate.curve import point
from multirate.data.vocabulary import Vocabulary
from multirate.errors import BetaError, DataError, UsageError
from multirate.seeding import generator, seeded

huggingface_hub = pytest.importorskip(
    "huggingface_hub", reason="huggingface_hub is not installed: pip install 'multirate[hub]'"
)

from multirate.integrations import hub  # noqa: E402  # after the skip

RANGE = mr.BetaRange(0.01, 10.0)
POINTS = ((0.01, 30.0, 20.0), (0.3, 12.0, 26.0), (1.0, 5.5, 30.25), (10.0, 0.1, 45.0))
CURVE = mr.Curve(
    "multi-rate mlp", "mlp", "toys", "test", 1234, tuple(point(*p) for p in POINTS), details={"likelihood": "bernoulli"}
)


class Own(nn.Module):
    """A class of the user's."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 3), nn.Linear(3, 4)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def multirate(base):
    model = mr.convert(base, RANGE)
    with seeded(3), torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture
def model():
    with seeded(0):
        return multirate(models.mlp(shape=(1, 8, 8), latents=4, hidden=(24, 16)))


@pytest.fixture
def x():
    return torch.rand(5, 1, 8, 8, generator=generator(1, "data"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the command line on the user's own data, evaluated."""
    place = tmp_path_factory.mktemp("runs")
    mine = place / "secret" / "mine.npz"
    mine.parent.mkdir()
    np.savez(mine, images=np.random.default_rng(0).integers(0, 2, (60, 1, 8, 8), dtype=np.uint8) * 255)
    small = ["--model", "mlp", "--hidden", "8", "--latents", "3", "--epochs", "1", "--batch-size", "16"]
    assert main(["train", "--data", str(mine), *small, "--out", str(place / "run")]) == 0
    assert main(["evaluate", str(place / "run"), "--betas", "4", "--no-figures"]) == 0
    return place / "run"


def card(folder):
    return huggingface_hub.ModelCard.load(folder / "README.md")


def test_a_saved_folder_loads_again(model, x, tmp_path):
    assert hub.save_pretrained(model, tmp_path / "mine", curve=CURVE) == tmp_path / "mine"
    names = {"model.json", "model.safetensors", "README.md", "curve.json", "rate_distortion.png"}
    assert {path.name for path in (tmp_path / "mine").iterdir()} == names <= set(hub.FILES)
    for loaded in (hub.from_pretrained(tmp_path / "mine"), mr.load(tmp_path / "mine")):
        assert torch.equal(loaded(x, beta=0.3), model(x, beta=0.3))
    assert hub.download(tmp_path / "mine") == tmp_path / "mine"
    assert mr.Curve.load(tmp_path / "mine" / "curve.json") == CURVE


@pytest.mark.slow
def test_the_card_has_the_metadata_that_the_hub_reads(model, tmp_path):
    hub.save_pretrained(model, tmp_path / "without", curve=CURVE)
    hub.save_pretrained(model, tmp_path / "with", curve=CURVE, license="apache-2.0")
    assert card(tmp_path / "without").data.to_dict() == {
        "library_name": "multirate",
        "tags": ["beta-vae", "multi-rate", "rate-distortion", "variational-autoencoder"],
    }
    assert card(tmp_path / "with").data.license == "apache-2.0"


@pytest.mark.slow
def test_the_card_shows_the_curve_as_it_was_measured(model, tmp_path):
    hub.save_pretrained(model, tmp_path, curve=CURVE, name="me/mine")
    text = card(tmp_path).text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[0] == ["beta", "rate", "distortion", "elbo", "objective"]
    assert rows[2:] == CURVE.table()[1:]
    assert "On the test split of toys, 1,234 examples" in text and "nats per example" in text
    assert "![rate-distortion curve](rate_distortion.png)" in text
    assert (tmp_path / "rate_distortion.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_code_of_the_card_runs(model, x, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.save_pretrained(model, tmp_path / "me" / "mine", curve=CURVE, name="me/mine")
    blocks = card(tmp_path / "me" / "mine").text.split("```python\n")[1:]
    names = {"x": x}
    for block in blocks:
        exec(block.split("```")[0], names)
    assert CURVE.beta_for(rate=15.1) == pytest.approx(names["beta"], rel=0.02)
    assert type(names["plain"]) is type(model.base)


def test_the_card_says_which_betas_the_model_refuses(model, tmp_path):
    hub.save_pretrained(model, tmp_path)
    assert "A beta below 0.01 or above 13.5 is refused" in card(tmp_path).text
    for beta in (0.0099, 13.6):
        with pytest.raises(BetaError):
            model(torch.zeros(1, 1, 8, 8), beta=beta)


def test_a_model_without_a_curve_has_a_card_without_one(model, tmp_path):
    hub.save_pretrained(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.safetensors", "README.md"}
    assert "Rate and distortion" not in card(tmp_path).text and "|" not in card(tmp_path).text


def test_a_card_that_is_there_is_kept(model, tmp_path):
    (tmp_path / "README.md").write_text("my own words")
    hub.save_pretrained(model, tmp_path, curve=CURVE)
    assert (tmp_path / "README.md").read_text() == "my own words"


def test_a_folded_model_says_where_it_is_on_the_curve(model, x, tmp_path):
    hub.save_pretrained(model, tmp_path, curve=CURVE, beta=0.3)
    loaded = hub.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(x), model(x, beta=0.3))
    assert json.loads((tmp_path / "model.json").read_text())["extra"] == {"beta": 0.3}
    text = card(tmp_path).text
    assert "of beta 0.3, folded out of a multi-rate one" in text and "its point at beta 0.3" in text
    assert "is refused" not in text and "beta_for" not in text


def test_a_plain_model_has_the_beta_of_its_one_point(model, tmp_path):
    one = mr.Curve("beta-VAE mlp", "mlp", "toys", "test", 10, (point(2.0, 3.0, 4.0),))
    hub.save_pretrained(model.base, tmp_path, curve=one)
    assert "A variational autoencoder of beta 2, trained with multirate." in card(tmp_path).text


def test_a_class_of_the_users_own_is_loaded_into_an_instance(tmp_path):
    with seeded(0):
        model, x = multirate(Own()), torch.ones(2, 4)
    hub.save_pretrained(model, tmp_path)
    assert "base=Own(...)" in card(tmp_path).text
    assert torch.equal(hub.from_pretrained(tmp_path, base=Own())(x, beta=1.0), model(x, beta=1.0))
    with pytest.raises(DataError, match=r"which is not built in; pass an instance as base="):
        hub.from_pretrained(tmp_path)


@pytest.mark.slow
def test_a_run_brings_its_curve_and_training_and_keeps_its_paths(run, tmp_path):
    hub.save_pretrained(mr.load(run / "model"), tmp_path, run=run)
    assert mr.Curve.load(tmp_path / "curve.json") == mr.Curve.load(run / "curve.json")
    text = card(tmp_path).text
    for line in ("- data: mine.npz", "- epochs: 1", "- batch size: 16", "- seed: 0"):
        assert line in text.splitlines()
    assert not [path.name for path in tmp_path.iterdir() if b"secret" in path.read_bytes()]


# How a run names its data, and what the card may say.
NAMES = [
    ("hf:ylecun/mnist", "hf:ylecun/mnist"),
    ("hf:mnist", "hf:mnist"),
    ("hf:/srv/secret/faces", "faces"),
    ("hf:./secret/faces", "faces"),
    ("hf:secret/deep/faces", "faces"),
    ("secret/mine.npz", "mine.npz"),
    ("digits", "digits"),
]


@pytest.mark.parametrize(("data", "public"), NAMES)
def test_data_of_ones_own_are_named_without_the_folders_around_them(data, public):
    assert hub._public_name(data) == public


def test_a_local_folder_that_looks_like_a_name_on_the_hub_is_named_by_its_last_part(tmp_path, monkeypatch):
    (tmp_path / "secret" / "faces").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub._public_name("hf:secret/faces") == "faces"


def test_another_models_curve_and_figure_do_not_stay(model, tmp_path):
    hub.save_pretrained(model, tmp_path / "mine", curve=CURVE)
    hub.save_pretrained(model, tmp_path / "mine")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"model.json", "model.safetensors", "README.md"}


def test_a_curve_of_a_folder_that_holds_no_model_stays(model, tmp_path):
    CURVE.save(tmp_path / "curve.json")
    hub.save_pretrained(model, tmp_path)
    assert mr.Curve.load(tmp_path / "curve.json") == CURVE


def test_words_of_a_text_model_go_with_it(tmp_path):
    run = tmp_path / "run"
    (tmp_path / "mine.txt").write_text("a b\nb c\nc a b\n" * 20)
    small = ["--model", "lstm", "--model-options", "embedding=4", "hidden=8", "--latents", "2", "--epochs", "1"]
    assert main(["train", "--data", str(tmp_path / "mine.txt"), *small, "--batch-size", "8", "--out", str(run)]) == 0
    folder = hub.save_pretrained(mr.load(run / "model"), tmp_path / "hub", run=run)
    assert Vocabulary.load(folder / "vocabulary.json").encode("a b") == (
        Vocabulary.load(run / "vocabulary.json").encode("a b")
    )
    assert "words = Vocabulary.load(" in card(folder).text


WRONG = [
    ("mine", UsageError, "'mine' is no folder and no repository, which is written USER/NAME"),
    ("a/b/c", UsageError, "'a/b/c' is no folder"),
    ("../me", UsageError, "'../me' is no folder"),
    ("me/", UsageError, "'me/' is no folder"),
    ("me/..", UsageError, r"'me/..' is no folder"),
    ("me/a b", UsageError, "'me/a b' is no folder"),
    ("me/a--b", UsageError, "me/a--b is no name of a repository"),
]


@pytest.mark.parametrize(("name", "error", "message"), WRONG)
def test_what_is_no_repository_is_refused_without_asking(name, error, message, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        hub.from_pretrained(name, local_files_only=True)


def test_a_folder_has_no_revision(tmp_path):
    with pytest.raises(UsageError, match="is a folder, which has no revision 'main'"):
        hub.from_pretrained(tmp_path, revision="main")


def test_what_was_not_downloaded_is_not_there_offline(tmp_path):
    with pytest.raises(DataError, match="me/none was not downloaded before"):
        hub.from_pretrained("me/none", cache_dir=tmp_path, local_files_only=True)


def test_the_missing_library_is_named_with_its_extra(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: hub.save_pretrained(model, tmp_path), lambda: hub.from_pretrained("me/mine")):
        with pytest.raises(UsageError, match=r"needs huggingface_hub, .*'multirate\[hub\]'"):
            call()


SCRIPT = """
import json, sys
import torch
import multirate as mr
from multirate.integrations import hub

folder, cache = sys.argv[1:]
model, curve, found = mr.load(folder), mr.Curve.load(folder + "/curve.json"), {}

def trying(name, call):
    try:
        found[name] = call()
    except mr.errors.MultirateError as error:
        found[name] = f"{type(error).__name__}: {error}"

trying("commit", lambda: hub.push_to_hub(model, "me/mine", curve=curve, license="mit"))
trying("again", lambda: hub.push_to_hub(model, "me/mine", curve=curve, message="Once more"))
trying("card", lambda: hub.push_to_hub(model, "me/mine", curve=curve, overwrite_card=True))
trying("bare", lambda: hub.push_to_hub(model, "me/bare", curve=curve) and hub.push_to_hub(model, "me/bare"))
trying("private", lambda: hub.push_to_hub(model, "me/hidden", private=True))
trying("refused", lambda: hub.push_to_hub(model, "me/mine", token="hf_wrong"))
trying("folder", lambda: sorted(p.name for p in hub.download("me/other", cache_dir=cache).iterdir()))
x = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
trying("same", lambda: torch.equal(hub.from_pretrained("me/mine", cache_dir=cache)(x, beta=0.3), model(x, beta=0.3)))
offline = dict(cache_dir=cache, local_files_only=True)
trying("offline", lambda: type(hub.from_pretrained("me/mine", **offline)).__name__)
trying("hidden", lambda: type(hub.from_pretrained("me/hidden", cache_dir=cache)).__name__)
trying("stranger", lambda: hub.download("me/hidden", cache_dir=cache + "2", token=False))
trying("none", lambda: hub.from_pretrained("me/none", cache_dir=cache))
trying("revision", lambda: hub.from_pretrained("me/mine", revision="v9", cache_dir=cache))
trying("not a model", lambda: hub.from_pretrained("me/empty", cache_dir=cache))
print(json.dumps(found))
"""


def asked(code, endpoint, *arguments, home):
    """Run code in a process of its own that takes an address for the hub."""
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def conversation(tmp_path_factory):
    """What came of the script, the repositories, and what was fetched."""
    place = tmp_path_factory.mktemp("hub")
    with seeded(0):
        hub.save_pretrained(multirate(models.mlp(shape=(1, 8, 8), latents=4)), place / "mine", curve=CURVE)
    with fake_hub() as server:
        other = {path.name: path.read_bytes() for path in (place / "mine").iterdir()}
        more = {"modeling_evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "sub/model.json": b"{}"}
        server.offer("me/other", other | more)
        server.offer("me/empty", {"README.md": b"nothing"})
        found = asked(SCRIPT, server.url, place / "mine", place / "cache", home=place / "home")
        return found, server


@pytest.mark.slow
def test_a_model_is_uploaded_in_one_commit_and_comes_back(conversation):
    found, server = conversation
    mine = server.repositories["me/mine"]
    assert found["commit"].startswith(f"{server.url}/me/mine/commit/")
    assert mine.commits == ["Add a model made with multirate", "Once more", "Add a model made with multirate"]
    assert set(mine.files) == {"README.md", "model.json", "model.safetensors", "curve.json", "rate_distortion.png"}
    assert found["same"] is True and found["offline"] == "MultiRate"


@pytest.mark.slow
def test_a_curve_and_a_figure_of_an_earlier_push_do_not_stay_on_the_hub(conversation):
    _, server = conversation
    assert set(server.repositories["me/bare"].files) == {"README.md", "model.json", "model.safetensors"}


@pytest.mark.slow
def test_the_card_on_the_hub_stays_its_authors_unless_asked(conversation):
    _, server = conversation
    mine = server.repositories["me/mine"]
    assert [b"license: mit" in card for card in mine.versions["README.md"]] == [True, False]
    assert len(mine.versions["model.json"]) == 3
    assert b"# mine" in mine.files["README.md"] and b'from_pretrained("me/mine")' in mine.files["README.md"]


@pytest.mark.slow
def test_code_and_pickles_of_a_repository_are_not_even_downloaded(conversation):
    found, server = conversation
    assert set(found["folder"]) == {"README.md", "curve.json", "model.json", "model.safetensors", "rate_distortion.png"}
    assert server.fetched() <= set(hub.FILES)


@pytest.mark.slow
def test_a_private_repository_is_for_its_owner(conversation):
    found, server = conversation
    assert server.repositories["me/hidden"].private and not server.repositories["me/mine"].private
    assert found["hidden"] == "MultiRate"
    assert found["stranger"] == "DataError: the hub has no me/hidden, or not for you: check the name, or pass token=..."


@pytest.mark.slow
def test_what_the_hub_refuses_is_said_in_one_line(conversation):
    found, _ = conversation
    assert found["none"].startswith("DataError: the hub has no me/none, or not for you")
    assert found["revision"] == "DataError: the hub has no me/mine at v9; check the revision"
    assert found["not a model"].startswith("DataError: me/empty on the hub has no model.json")
    assert found["refused"].startswith("DataError: the hub refused me/mine: ") and "\n" not in found["refused"]


UNREACHABLE = """
import json
from multirate.errors import DataError
from multirate.integrations import hub

try:
    hub.from_pretrained("me/mine")
except DataError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_an_error(tmp_path):
    with fake_hub() as server:
        gone = server.url
    message = asked(UNREACHABLE, gone, home=tmp_path)
    assert "check the network" in message and "\n" not in message
