import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cases import FEED_FORWARD, RANGE, RECURRENT, randomized
from multirate import models
from multirate.convert import MultiRate, convert
from multirate.errors import ConversionError, DataError
from multirate.fold import fold
from multirate.loading import load
from multirate.saving import save
from multirate.seeding import seeded

SHAPE = (1, 28, 28)
BUILDERS = [models.linear, models.mlp, models.convnet, models.resnet]


def built_in(builder=models.mlp, response="paper") -> MultiRate:
    with seeded(0):
        model = convert(builder(shape=SHAPE, latents=4), RANGE, response=response).eval()
        torch.nn.init.normal_(model.response.weight, std=0.2)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
@pytest.mark.parametrize("response", ["paper", "film", "mlp", "water-filling"])
def test_built_in_model_comes_back_bit_for_bit_with_all_it_was(builder, response, tmp_path):
    model = built_in(builder, response)
    twin = load(model.save(tmp_path))
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(twin(x, beta=0.3), model(x, beta=0.3))
    assert (twin.beta_range, twin.plan.gated) == (model.beta_range, model.plan.gated)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_folded_model_comes_back_as_a_plain_one(tmp_path):
    plain = fold(built_in(), 0.3)
    twin = load(save(plain, tmp_path, {"beta": 0.3}))
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert type(twin) is type(plain)
    assert torch.equal(twin(x), plain(x))
    assert json.loads((tmp_path / "model.json").read_text())["extra"] == {"beta": 0.3}


@pytest.mark.parametrize("case", [FEED_FORWARD[12], RECURRENT[0]], ids=lambda case: case.name)
def test_own_model_is_loaded_into_an_instance_of_its_class(case, tmp_path):
    model, x = randomized(case), case.batch()
    model.save(tmp_path)
    base = case.build()
    twin = load(tmp_path, base=base)
    assert torch.equal(twin(x, beta=0.3), model(x, beta=0.3))
    assert not any(module._forward_hooks for module in base.modules())
    with pytest.raises(DataError, match=r"holds a cases.Pair, which is not built in; pass an instance as base="):
        load(tmp_path)


def test_shared_parameters_can_be_saved(tmp_path):
    case = FEED_FORWARD[0]
    base = case.build()
    base.encoder[0].weight = torch.nn.Parameter(torch.randn(4, 5, dtype=torch.float64))
    base.twin = base.encoder[0]
    model = convert(base, RANGE)
    other = case.build()
    other.twin = other.encoder[0]
    twin = load(model.save(tmp_path), base=other)
    assert torch.equal(twin(case.batch(), beta=1.0), model.eval()(case.batch(), beta=1.0))


def test_every_tensor_keeps_its_own_precision(tmp_path):
    model = convert(FEED_FORWARD[0].build(torch.bfloat16), RANGE)
    torch.nn.init.normal_(model.response.weight)
    twin = load(model.save(tmp_path), base=FEED_FORWARD[0].build())
    assert twin.response.weight.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(twin.state_dict().values(), model.state_dict().values(), strict=True))


class Shouting(models.GaussianVAE):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_subclass_of_a_built_in_network_is_not_mistaken_for_it(tmp_path):
    plain = models.mlp(shape=(4,), latents=2)
    plain.__class__ = Shouting
    with pytest.raises(DataError, match="Shouting, which is not built in"):
        load(save(plain, tmp_path))


def spoil(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes(b"no such format")


SPOILED = [
    ("model.safetensors", "missing", "save the model again"),
    ("model.safetensors", "truncated", "the file is damaged"),
    ("model.safetensors", "garbage", "the file is damaged"),
    ("model.json", "missing", "no file"),
    ("model.json", "garbage", "as JSON"),
]


@pytest.mark.parametrize(("name", "how", "message"), SPOILED)
def test_a_spoiled_file_gives_one_clear_line(name, how, message, tmp_path):
    built_in().save(tmp_path)
    spoil(tmp_path / name, how)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_schema_is_refused(tmp_path):
    built_in().save(tmp_path)
    (tmp_path / "model.json").write_text('{"schema": "other/1"}')
    with pytest.raises(DataError, match="has schema 'other/1'"):
        load(tmp_path)


def test_a_base_of_another_shape_is_refused(tmp_path):
    built_in().save(tmp_path)
    with pytest.raises(ConversionError, match="the plan"):
        load(tmp_path, base=FEED_FORWARD[0].build())
    with pytest.raises(DataError, match="do not fit"):
        load(tmp_path, base=models.mlp(shape=SHAPE, latents=5))


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        built_in().save(tmp_path / "file" / "model")


def damaged(folder, change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


WRONG = {
    "no options": lambda c: c.update(options=None),
    "no key": lambda c: c.pop("multirate"),
    "no model": lambda c: c.pop("model"),
    "unknown option": lambda c: c["options"].update(depth=3),
    "option of the wrong type": lambda c: c["options"].update(shape=28),
    "unknown field of a gated layer": lambda c: c["multirate"]["gated"][0].update(colour="red"),
    "no gated layers": lambda c: c["multirate"].update(gated=None),
    "half a range": lambda c: c["multirate"].update(beta_range=[1]),
    "a range upside down": lambda c: c["multirate"].update(beta_range=[10, 1]),
    "a range of words": lambda c: c["multirate"].update(beta_range=["a", "b"]),
    "multirate is a list": lambda c: c.update(multirate=[1]),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_description_of_wrong_content_is_refused_in_one_line(tmp_path, change):
    built_in().save(tmp_path)
    damaged(tmp_path, change)
    with pytest.raises(DataError, match=r"model\.json does not describe a model: .*; save the model again") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_file_says_what_to_do(tmp_path, name):
    folder = built_in().save(tmp_path / "model")
    with pytest.raises(DataError, match=r"is a run: load .*model"):
        load(tmp_path)
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"no file .*{name}; check the path, or save the model again"):
        load(folder)
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(DataError, match=rf"no file .*{name}; the run in .* is not finished: train with --resume"):
        load(folder)


def described(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


LIES = {
    "a layer of 10^9 x 10^9": ({"hidden": [10**9, 10**9]}, "larger than the whole network"),
    "layers of 3,000 x 3,000": ({"hidden": [3000, 3000, 3000]}, "far more numbers than"),
    "a million layers": ({"hidden": [1] * 1_000_000}, "options in a row"),
    "more latents than numbers": ({"latents": 10**15}, "larger than the whole network"),
    "no widths": ({"hidden": "ab"}, "does not describe a model"),
    "another option": ({"hidden": {"a": 1}}, "does not describe a model"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("options", "message"), LIES.values(), ids=LIES.keys())
def test_a_description_of_a_network_that_the_file_cannot_hold_is_refused(options, message, tmp_path):
    plain = models.mlp(shape=(1, 4, 4), latents=2, hidden=(64, 64, 64))
    save(plain, tmp_path)
    described(tmp_path, options=plain.options | options)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("name", ["class", "model", "options", "multirate", "extra"])
def test_a_description_without_a_part_names_it(name, tmp_path):
    built_in().save(tmp_path)
    described(tmp_path, **{name: 3})
    with pytest.raises(
        DataError, match=rf"model\.json does not describe a model: it has no '{name}' of the right kind"
    ):
        load(tmp_path)


def test_a_plan_that_does_not_fit_names_the_folder(tmp_path):
    built_in().save(tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    content["multirate"]["gated"][0]["gates"] = 5
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises((ConversionError, DataError), match=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.fill_(torch.nan), "is not finite"),
        (lambda tensor: tensor.fill_(torch.inf), "is not finite"),
        (lambda tensor: tensor.to(torch.int32), "is torch.int32, not torch.float32"),
        (lambda tensor: tensor.to(torch.complex64), "is torch.complex64, not torch.float32"),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "is torch.float8_e4m3fn, not torch.float32"),
    ],
)
def test_parameters_that_are_no_finite_numbers_are_refused(change, message, tmp_path):
    model = fold(built_in(), 0.3)
    save(model, tmp_path)
    state = model.state_dict()
    name = list(state)[-1]
    safetensors.torch.save_file(state | {name: change(state[name].clone())}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=rf"{name} of .* {message}"):
        load(tmp_path)


class Masked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = torch.nn.Linear(4, 4), torch.nn.Linear(2, 4)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def test_a_buffer_may_hold_infinities_but_nothing_that_is_no_number(tmp_path):
    model = Masked()
    save(model, tmp_path)
    assert torch.equal(load(tmp_path, base=Masked()).mask, model.mask)
    model.mask[0] = torch.nan
    save(model, tmp_path)
    with pytest.raises(DataError, match=r"mask of .* is not finite"):
        load(tmp_path, base=Masked())
