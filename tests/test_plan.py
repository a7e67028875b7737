import pytest
import torch
from torch import nn

from cases import FEED_FORWARD
from multirate.beta import BetaRange
from multirate.convert import convert
from multirate.errors import ConversionError
from multirate.plan import plan


class OutOfOrder(nn.Module):
    """Registers its normalizations before and away from the layers that feed them."""

    def __init__(self):
        super().__init__()
        self.norm2, self.conv1, self.conv2, self.norm1 = (
            nn.BatchNorm2d(4),
            nn.Conv2d(1, 4, 3),
            nn.Conv2d(4, 4, 3),
            nn.BatchNorm2d(4),
        )
        self.unused = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return torch.relu(self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class Vae(nn.Module):
    def __init__(self, encoder, decoder=None):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder or nn.Identity()

    def forward(self, x):
        return self.decoder(self.encoder(x))


class DoublingLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def reasons(base, **options):
    return {layer.name: layer.reason for layer in plan(base, **options).skipped}


def test_example_shows_which_normalization_follows_which_layer():
    base = Vae(OutOfOrder())
    by_order = {g.name: g.at for g in plan(base).gated}
    traced = {g.name: g.at for g in plan(base, example=torch.zeros(2, 1, 8, 8)).gated}
    assert all(name == at for name, at in by_order.items())
    assert traced == {"encoder.conv1": "encoder.norm1", "encoder.conv2": "encoder.norm2"}


def test_example_finds_layers_that_are_never_called():
    assert reasons(Vae(OutOfOrder()), example=torch.zeros(2, 1, 8, 8)) == {
        "encoder.unused": "not called on the example"
    }


def test_normalization_is_found_by_number_where_the_parent_is_no_sequence():
    transformer = plan(Vae(nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)), decoder=())
    assert {g.name: g.at for g in transformer.gated} == {
        "encoder.linear1": "encoder.linear1",
        "encoder.linear2": "encoder.linear2",
    }
    block = nn.ModuleDict({"conv1": nn.Conv2d(1, 4, 3), "bn1": nn.BatchNorm2d(4), "conv2": nn.Conv2d(4, 4, 3)})
    assert {g.name: g.at for g in plan(Vae(block), decoder=()).gated} == {
        "encoder.conv1": "encoder.bn1",
        "encoder.conv2": "encoder.conv2",
    }


def test_a_normalization_after_an_in_place_nonlinearity_does_not_follow_the_layer():
    base = Vae(nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.BatchNorm1d(4)))
    assert [g.at for g in plan(base, decoder=(), example=torch.zeros(2, 4)).gated] == ["encoder.0"]


def test_layers_registered_under_another_name_too_are_found():
    base = Vae(nn.Identity(), nn.Linear(4, 4))
    base.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    base.encoder = nn.Sequential(base.layers[0], nn.ReLU(), base.layers[1])
    assert len(plan(base).gated) == 3
    assert len(plan(base, encoder="layers.0").gated) == 2
    base.decoder = base.encoder
    with pytest.raises(ConversionError, match="lies in both encoder and decoder"):
        plan(base)


def test_a_nonlinearity_may_be_shared_by_encoder_and_decoder():
    act = nn.ReLU()
    assert len(plan(Vae(nn.Sequential(nn.Linear(4, 4), act), nn.Sequential(act, nn.Linear(4, 4)))).gated) == 2


def test_planning_changes_nothing():
    base = Vae(OutOfOrder())
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    plan(base, example=torch.ones(2, 1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert not any(module._forward_hooks for module in base.modules())


SKIPPED = [
    ("embedding", nn.Embedding(5, 4), "no rule for Embedding"),
    ("bilinear", nn.Bilinear(2, 2, 4), "no rule for Bilinear"),
    ("attention", nn.MultiheadAttention(4, 2), "no rule for MultiheadAttention"),
    ("lstm cell", nn.LSTMCell(4, 4), "no rule for LSTMCell"),
    ("prelu", nn.PReLU(), "no rule for PReLU"),
    ("lone norm", nn.LayerNorm(4), "a normalization that follows no gated layer"),
    ("weight norm", nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "its weights are computed"),
    ("spectral norm", nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), "its weights are computed"),
    ("own forward", DoublingLinear(4, 4), "overrides the forward of its parent class"),
    ("lazy", nn.LazyLinear(4), "lazy: run the model once"),
    (
        "plain norm",
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False)),
        "BatchNorm1d without weights follows",
    ),
]


@pytest.mark.parametrize(("layer", "reason"), [case[1:] for case in SKIPPED], ids=[case[0] for case in SKIPPED])
def test_layer_without_a_rule_is_listed_with_the_reason(layer, reason):
    found = plan(Vae(nn.Sequential(layer, nn.Linear(4, 4))), decoder=())
    assert [g.name for g in found.gated] == ["encoder.1"]
    assert len(found.skipped) == 1
    assert reason in found.skipped[0].reason
    assert found.skipped[0].name in str(found)


def test_what_lies_outside_or_is_named_ungated_is_listed():
    base = Vae(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 4))
    base.classifier = nn.Linear(4, 4)
    base.scale = nn.Parameter(torch.ones(1))
    assert reasons(base, ungated="encoder.1") == {
        "(root)": "outside encoder and decoder",
        "encoder.1": "named in ungated",
        "classifier": "outside encoder and decoder",
    }


def test_patterns_name_paths_or_hold_wildcards():
    base = nn.ModuleDict(
        {f"block{i}": nn.ModuleDict({"conv": nn.Linear(2, 2), "skip": nn.Linear(2, 2)}) for i in range(3)}
    )
    found = plan(base, encoder=["block0", "block1.conv"], decoder="block2.s*", response="paper")
    assert [(g.name, g.side, g.gate) for g in found.gated] == [
        ("block0.conv", "encoder", "sigmoid"),
        ("block0.skip", "encoder", "sigmoid"),
        ("block1.conv", "encoder", "sigmoid"),
        ("block2.skip", "decoder", "sqrt"),
    ]


def test_a_response_table_gives_each_layer_its_gate_function():
    base = Vae(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 4))
    found = plan(base, response={"encoder.1": "ramp", "encoder": "film", "decoder": "sqrt"})
    assert [g.gate for g in found.gated] == ["film", "ramp", "sqrt"]
    assert [g.shift for g in found.gated] == [True, False, False]
    with pytest.raises(ConversionError, match="names no gate function for layer 'decoder'"):
        plan(base, response={"encoder": "film"})


def test_two_layers_before_one_shared_normalization_are_gated_once():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4)

        def forward(self, x):
            return self.norm(self.b(self.norm(self.a(x))))

    found = plan(Vae(Shared()), decoder=(), example=torch.zeros(2, 4))
    assert [g.at for g in found.gated] == ["encoder.norm"]
    assert "shares 'encoder.norm'" in found.skipped[0].reason


REFUSED = [
    (nn.ModuleDict({"down": nn.Linear(2, 2), "up": nn.Linear(2, 2)}), {}, "no submodule is called encoder.*down, up"),
    (Vae(nn.Linear(2, 2), nn.Linear(2, 2)), {"encoder": "trunk"}, "encoder='trunk' matches no submodule"),
    (Vae(nn.ReLU(), nn.Embedding(2, 2)), {}, "nothing to gate .no rule for Embedding"),
    (Vae(nn.Linear(2, 2), nn.Linear(2, 2)), {"decoder": "encoder"}, "lies in both encoder and decoder"),
    (Vae(nn.Linear(2, 2), nn.Linear(2, 2)), {"response": "linear"}, "no response 'linear'; choose one of default"),
    (Vae(nn.Linear(2, 2), nn.Linear(2, 2)), {"response": {"encoder": "tanh"}}, "no gate function 'tanh'"),
]


@pytest.mark.parametrize(("base", "options", "message"), REFUSED, ids=[case[2][:20] for case in REFUSED])
def test_a_plan_that_cannot_be_is_refused_with_the_remedy(base, options, message):
    with pytest.raises(ConversionError, match=message):
        plan(base, **options)


def test_nothing_half_converted_is_left_after_a_refusal():
    base = FEED_FORWARD[0].build()
    with pytest.raises(ConversionError):
        convert(base, BetaRange(), encoder="nowhere")
    assert not any(module._forward_hooks for module in base.modules())


def test_parameter_count_is_that_of_the_response():
    for response in ("default", "paper", "film"):
        for case in FEED_FORWARD:
            model = convert(case.build(), BetaRange(), response=response)
            assert model.plan.parameters == sum(p.numel() for p in model.response.parameters())
