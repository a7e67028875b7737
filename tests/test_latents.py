import pytest
import torch
from torch import nn

from latent_cases import VAES, Convolutional, Deep, Inner, Joint, Named, Small, build
from multirate import models
from multirate.convert import convert
from multirate.errors import ConversionError
from multirate.plan import plan

FOUND = {
    Named: [("fc_mu", "latent mean"), ("fc_logvar", "latent log-variance"), ("decoder_input", "latent input")],
    Inner: [
        ("encoder.mean_encoder", "latent mean"),
        ("encoder.var_encoder", "latent log-variance"),
        ("decoder.0", "latent input"),
    ],
    Convolutional: [("mean", "latent mean"), ("log_variance", "latent log-variance"), ("decoder.0", "latent input")],
    Joint: [("quant_conv", "latent moments"), ("post_quant_conv", "latent input")],
    Deep: [("mu.2", "latent mean"), ("logvar.fc", "latent log-variance"), ("decoder.0.0", "latent input")],
}
BUILT_IN = {"linear": "decoder.0", "mlp": "decoder.0", "convnet": "stem", "resnet": "stem"}


def sites(found):
    return [(layer.name, layer.gate) for layer in found.gated if layer.side == "latent"]


def gates(found):
    return {gate for _, gate in sites(found)}


def with_parts(**parts: nn.Module) -> Small:
    """Build a VAE whose encoder gives 6 features and whose decoder takes 3 latents, and register ``parts`` in it."""
    base = Small()
    base.encoder = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
    base.decoder = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5))
    for name, part in parts.items():
        base.add_module(name, part)
    return base


def head(bias=True, width=3):
    return nn.Linear(6, width, bias=bias)


@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_heads_and_input_are_found_by_their_common_names(vae):
    found = plan(build(vae))
    assert sites(found) == FOUND[vae]
    assert found.missing == ()
    assert found.latents == 3
    assert "without" not in str(found)
    assert ", 3 latents" in str(found)
    ordinary = {layer.name for layer in found.gated if layer.side != "latent"}
    assert ordinary.isdisjoint(name for name, gate in FOUND[vae] if gate != "latent input")


@pytest.mark.parametrize("vae", VAES, ids=lambda vae: vae.__name__)
def test_the_plan_counts_the_parameters_of_the_response(vae):
    model = convert(build(vae))
    assert model.plan.parameters == sum(p.numel() for p in model.response.parameters())
    assert model.response.thresholds.shape == (3,)


@pytest.mark.parametrize(("name", "taker"), BUILT_IN.items())
def test_the_built_in_networks_have_all_their_latents_gated(name, taker):
    found = plan(models.build(name, latents=7))
    side = "encoder." if name == "linear" else ""
    mean = "encoder.mean.1" if name == "linear" else "mean"
    assert sites(found) == [
        (mean, "latent mean"),
        (f"{side}log_variance", "latent log-variance"),
        (taker, "latent input"),
    ]
    assert (found.latents, found.missing) == (7, ())


@pytest.mark.parametrize("mean", ["mean", "mu", "z_mean", "fc_mean", "to_mu", "mean_head"])
@pytest.mark.parametrize("log_variance", ["log_var", "z_log_var", "fc_var", "to_logvar"])
def test_names_of_heads_go_together_in_any_pair(mean, log_variance):
    found = plan(with_parts(**{log_variance: head(), mean: head()}))
    assert sites(found)[:2] == [(mean, "latent mean"), (log_variance, "latent log-variance")]


def test_a_head_beyond_the_encoder_is_no_longer_skipped_and_one_inside_not_gated_twice():
    assert "fc_mu" not in {layer.name for layer in plan(build(Named)).skipped}
    inner = plan(build(Inner)).gated
    assert [layer.side for layer in inner if layer.name == "encoder.mean_encoder"] == ["latent"]


def test_the_layer_that_takes_the_latents_keeps_its_own_gate():
    found = plan(build(Convolutional)).gated
    assert [layer.side for layer in found if layer.name == "decoder.0"] == ["decoder", "latent"]


AMBIGUOUS = [
    ("mean", {"mu": head(), "z_mean": head(), "logvar": head()}, "several modules could be it (mu, z_mean)"),
    (
        "log_variance",
        {"mu": head(), "logvar": head(), "fc_var": head()},
        "several modules could be it (logvar, fc_var)",
    ),
    ("mean", {"logvar": head()}, "no layer is called mean, mu, means, ..."),
    ("log_variance", {"mu": head()}, "no layer is called log_variance, log_var, logvar, ..."),
    ("log_variance", {"mu": head(), "logvar": nn.ReLU()}, "no layer is called log_variance"),
    ("mean", {"mu": nn.LSTM(6, 3), "logvar": head()}, "no layer is called mean"),
]


@pytest.mark.parametrize(("what", "parts", "message"), AMBIGUOUS, ids=[case[2][:30] for case in AMBIGUOUS])
def test_what_is_ambiguous_or_absent_is_said_and_costs_only_that_part(what, parts, message):
    found = plan(with_parts(**parts))
    label = "latent " + what.replace("_", "-")
    assert f"without {label}: {message}" in str(found)
    assert f"name it with {what}=..." in str(found)
    assert gates(found) == {"latent mean", "latent log-variance", "latent input"} - {label}
    assert [layer.name for layer in found.gated if layer.side != "latent"] == ["encoder.0", "decoder.0", "decoder.2"]


def test_a_name_given_settles_what_is_ambiguous():
    base = with_parts(mu=head(), z_mean=head(), logvar=head())
    assert sites(plan(base, mean="z_mean"))[0] == ("z_mean", "latent mean")


def test_without_heads_no_latents_are_gated_and_the_layers_still_are():
    found = plan(with_parts())
    assert [layer.side for layer in found.gated] == ["encoder", "decoder", "decoder"]
    assert [line.partition(":")[0] for line in found.missing] == ["latent mean", "latent log-variance", "latent input"]
    assert found.latents == 0
    model = convert(with_parts())
    assert model.response.thresholds is None
    with model.at(0.3):
        assert model.base.encoder(torch.zeros(2, 5)).shape == (2, 6)


def test_an_input_of_another_width_than_the_latents_is_not_the_latents():
    found = plan(with_parts(mu=head(width=4), logvar=head(width=4)))
    assert gates(found) == {"latent mean", "latent log-variance"}
    assert "without latent input: no layer was found that takes the latents alone" in str(found)


def test_a_grouped_convolution_does_not_take_the_latents_gates():
    base = build(Convolutional)
    base.decoder[0] = nn.ConvTranspose2d(3, 3, 3, groups=3)
    assert gates(plan(base)) == {"latent mean", "latent log-variance"}
    with pytest.raises(ConversionError, match=r"latent_input='decoder\.0' is no layer that takes"):
        plan(base, latent_input="decoder.0")


def test_names_given_are_taken_whatever_they_are():
    base = with_parts(a=head(), b=nn.Sequential(head(), nn.Linear(3, 3)))
    found = plan(base, mean="b", log_variance="a", latent_input="decoder")
    assert sites(found) == [("b.1", "latent mean"), ("a", "latent log-variance"), ("decoder.0", "latent input")]


def test_one_layer_named_as_both_heads_gives_the_moments():
    found = plan(with_parts(tail=head(width=6)), mean="tail", log_variance="tail")
    assert sites(found) == [("tail", "latent moments"), ("decoder.0", "latent input")]
    assert found.latents == 3


def test_the_input_alone_can_be_gated():
    found = plan(with_parts(), latent_input="decoder.0")
    assert sites(found) == [("decoder.0", "latent input")]
    assert found.latents == 3


@pytest.mark.parametrize("what", ["mean", "log_variance", "latent_input"])
def test_an_empty_tuple_leaves_a_part_out(what):
    found = plan(with_parts(mu=head(), logvar=head()), **{what: ()})
    label = {"mean": "latent mean", "log_variance": "latent log-variance", "latent_input": "latent input"}[what]
    assert found.missing == (f"{label}: left out",)
    assert gates(found) == {"latent mean", "latent log-variance", "latent input"} - {label}


def test_a_head_left_out_inside_the_encoder_is_gated_like_any_layer():
    found = plan(build(Inner), mean=())
    assert [(g.side, g.gate) for g in found.gated if g.name == "encoder.mean_encoder"] == [("encoder", "cubic")]


def test_a_log_variance_head_without_bias_is_not_gated():
    found = plan(with_parts(mu=head(), logvar=head(bias=False)))
    assert gates(found) == {"latent mean", "latent input"}
    assert found.missing == ("latent log-variance: 'logvar' has no bias, into which its shift could be folded",)
    assert gates(plan(with_parts(mu=head(bias=False), logvar=head()))) >= {"latent mean", "latent log-variance"}
    moments = plan(with_parts(quant_conv=head(bias=False, width=6)))
    assert "latent moments: 'quant_conv' has no bias" in moments.missing[0]


REFUSED_HEADS = [
    ("lazy", nn.LazyLinear(3), "is lazy: run the model once"),
    ("weight norm", nn.utils.parametrizations.weight_norm(head()), "has computed weights"),
]


@pytest.mark.parametrize(("layer", "reason"), [case[1:] for case in REFUSED_HEADS], ids=[c[0] for c in REFUSED_HEADS])
def test_a_head_that_cannot_be_folded_is_not_gated(layer, reason):
    found = plan(with_parts(mu=layer, logvar=head()))
    assert gates(found) == {"latent log-variance", "latent input"}
    assert reason in found.missing[0]


@pytest.mark.parametrize(("pattern", "label"), [("mu", "latent mean"), ("logvar", "latent log-variance")])
def test_a_head_named_ungated_is_not_gated(pattern, label):
    found = plan(with_parts(mu=head(), logvar=head()), ungated=pattern)
    assert gates(found) == {"latent mean", "latent log-variance", "latent input"} - {label}
    assert found.missing == (f"{label}: {pattern!r} is named in ungated",)


def test_a_first_layer_named_ungated_takes_no_latent_gates():
    found = plan(with_parts(mu=head(), logvar=head()), ungated="decoder.0")
    assert [layer.name for layer in found.gated] == ["encoder.0", "decoder.2", "mu", "logvar"]
    assert "without latent input" in str(found)


WRONG = [
    ({"mean": "nowhere"}, "mean='nowhere' names no submodule"),
    ({"log_variance": "encoder.9"}, "log_variance='encoder.9' names no submodule"),
    ({"latent_input": "nowhere"}, "latent_input='nowhere' names no submodule"),
    ({"mean": "encoder.1"}, "mean='encoder.1' does not end in a layer that can be gated"),
    ({"latent_input": "decoder.2"}, "latent_input='decoder.2' is no layer that takes the latents alone, 3 channels"),
    ({"latent_input": "decoder.1"}, "latent_input='decoder.1' is no layer that takes the latents alone"),
    ({"mean": "encoder.0"}, "differ in width: 'encoder.0' has 6, 'logvar' has 3"),
    ({"mean": "encoder"}, "mean='encoder' does not end in a layer that can be gated"),
    ({"mean": ""}, "mean='' names no submodule"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[case[1][:30] for case in WRONG])
def test_a_name_given_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConversionError, match=message):
        plan(with_parts(mu=head(), logvar=head()), **{"log_variance": "logvar", **options})


def test_heads_found_that_differ_in_width_are_left_out_and_named():
    found = plan(with_parts(embedding=head(width=6), fc_logvar=head()))
    assert found.latents == 0
    assert "differ in width ('embedding' has 6, 'fc_logvar' has 3); name them" in found.missing[0]


def test_an_embedding_is_the_mean_only_without_a_better_name():
    found = plan(with_parts(embedding=head(width=6), fc_mu=head(), fc_logvar=head()))
    assert sites(found)[:2] == [("fc_mu", "latent mean"), ("fc_logvar", "latent log-variance")]
    assert sites(plan(with_parts(embedding=head(), log_var=head())))[0] == ("embedding", "latent mean")


def test_moments_of_odd_width_are_not_gated():
    found = plan(with_parts(quant_conv=head(width=7)))
    assert found.missing[0] == "latent moments: 'quant_conv' has an odd number of channels"


def test_a_container_whose_layer_bears_a_name_too_is_one_candidate():
    mu = nn.Sequential()
    mu.add_module("fc_mu", head())
    assert sites(plan(with_parts(mu=mu, logvar=head())))[0] == ("mu.fc_mu", "latent mean")


def test_an_encoders_stem_does_not_take_the_latents():
    base = with_parts(mu=head(), logvar=head())
    base.encoder.add_module("stem", nn.Linear(3, 3))
    assert sites(plan(base))[-1] == ("decoder.0", "latent input")


@pytest.mark.parametrize("after", [nn.BatchNorm1d(3), nn.Tanh()], ids=["normalization", "activation"])
def test_a_head_with_something_after_it_is_not_gated(after):
    found = plan(with_parts(mu=nn.Sequential(head(), after), logvar=head()))
    assert gates(found) == {"latent log-variance", "latent input"}
    assert found.missing[0].startswith("latent mean: ")


def test_a_module_registered_twice_is_found_under_either_name():
    base = with_parts(tails=nn.ModuleList([head(), head()]))
    base.fc_mu, base.fc_logvar = base.tails
    expected = [("tails.0", "latent mean"), ("tails.1", "latent log-variance"), ("decoder.0", "latent input")]
    assert sites(plan(base)) == expected
    assert sites(plan(base, mean="fc_mu", log_variance="tails.1")) == expected


@pytest.mark.parametrize("what", ["mean", "log_variance", "latent_input"])
def test_a_name_that_the_response_has_no_use_for_is_refused(what):
    with pytest.raises(ConversionError, match=f"{what}='mu' has no use: this response does not gate the latents"):
        plan(with_parts(mu=head(), logvar=head()), response="film", **{what: "mu"})


@pytest.mark.parametrize("response", ["paper", "sigmoid", "film", "water-filling"])
def test_other_responses_leave_the_latents_alone(response):
    found = plan(build(Named), response=response)
    assert (sites(found), found.missing, found.latents) == ([], (), 0)


def test_a_table_gates_the_latents_by_threshold_and_by_nothing_else():
    table = {"encoder": "film", "decoder": "sqrt"}
    assert sites(plan(build(Named), response=table)) == []
    found = plan(build(Named), response={**table, "latents": "threshold"})
    assert sites(found) == FOUND[Named]
    assert {layer.gate for layer in found.gated if layer.side != "latent"} == {"film", "sqrt"}
    with pytest.raises(ConversionError, match="latents are gated by 'threshold'; got 'film'"):
        plan(build(Named), response={**table, "latents": "film"})
