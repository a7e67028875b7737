"""What training beyond this machine would need: counts of two large models, and the plan derived from them.

    python benchmarks/scaling.py [--only nvae]

Counted on the meta device, where nothing is computed: NVAE at the CelebA-64 size of its paper
(``configuration=celeba64``), and diffusers' AutoencoderKL at the size of Stable Diffusion's (84 M parameters, 256x256
images), each plain and multi-rate, in float32 and in bf16 (weights and activations). From the counts follow time,
memory and communication on GPUs under the assumptions that stand in ``ASSUMED`` and ``GPUS``; none of that was measured
on a GPU. Without diffusers the rows of AutoencoderKL are those of the committed file.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from counting import DENSE, DEPTHWISE, count_step, gated_elements
from measuring import RESULTS, save
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import multirate as mr

BATCH = {"nvae": 16, "autoencoder-kl": 8}
SHAPES = {"nvae": (3, 64, 64), "autoencoder-kl": (3, 256, 256)}
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
# Vendor's figures: operations a second without sparsity (bf16 on tensor cores, TF32 for float32, float32 outside of
# them), bytes a second of memory and of NVLink in one direction.
GPUS: Mapping[str, Mapping[str, float]] = {
    "A100 80 GB SXM": {"bf16": 312e12, "float32": 156e12, "vector": 19.5e12, "memory": 2.04e12, "link": 300e9},
    "H100 80 GB SXM": {"bf16": 989e12, "float32": 494e12, "vector": 67e12, "memory": 3.35e12, "link": 450e9},
}
ASSUMED: Mapping[str, float] = {
    "share of the tensor cores' peak": 0.5,
    "share of the peak outside of them": 0.5,
    "share of the memory's bandwidth": 0.8,
    "share of a link's bandwidth": 0.7,
    "seconds to launch a kernel": 5e-6,
    "bytes a second of a link between nodes": 50e9,
    "share of 80 GB that tensors may fill": 0.9,
}
NODES, GPUS_A_NODE = (4, 32), 8
# Adam and Adamax read weight, gradient and two moments, and write all but the gradient, in float32.
OPTIMIZER_BYTES, STATE_BYTES, GRADIENT_BYTES = 28, 16, 4
# Of each gated number: scale, shift; backward the gradients of the number, its scale (product and sum) and its shift.
# Of each parameter of the response and each image: a product and a sum, and twice that backward.
GATE_FLOPS, RESPONSE_FLOPS = 6, 6


class AutoencoderVAE(nn.Module):
    """The adapter that makes an AutoencoderKL a VAE of this library: rate and distortion of each example."""

    def __init__(self) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=256,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction."""
        return self.vae.decode(self.vae.encode(x).latent_dist.mean).sample

    def terms(self, x: Tensor) -> mr.Terms:
        """Return KL and summed squared error, ``[B]``, for images ``[B, 3, 256, 256]``."""
        posterior = self.vae.encode(x).latent_dist
        z = posterior.mean + posterior.std * torch.randn_like(posterior.mean)
        error = (self.vae.decode(z).sample - x).square().sum((1, 2, 3))
        return mr.Terms(posterior.kl(), error)


def _nvae() -> nn.Module:
    options = {"shape": SHAPES["nvae"], "configuration": "celeba64", "likelihood": "discretized_logistic"}
    return mr.models.build("nvae", **options)


BUILDERS: Mapping[str, Callable[[], nn.Module]] = {"nvae": _nvae, "autoencoder-kl": AutoencoderVAE}
SIDES: Mapping[str, Mapping[str, Any]] = {
    "nvae": {},
    "autoencoder-kl": {
        **{"encoder": "vae.encoder", "decoder": "vae.decoder"},
        **{"mean": "vae.quant_conv", "log_variance": "vae.quant_conv", "latent_input": "vae.post_quant_conv"},
        "ungated": ("vae.encoder.conv_out", "vae.decoder.conv_out"),
    },
}


def count(name: str) -> list[dict[str, Any]]:
    """Count a model, plain and multi-rate, in both precisions."""
    rows = []
    for precision, dtype in PRECISIONS.items():
        with torch.device("meta"):
            plain = BUILDERS[name]().to(dtype)
        x = torch.empty(BATCH[name], *SHAPES[name], device="meta", dtype=dtype)
        example = None if name == "nvae" else x[:1]  # shows which normalizations follow which layers
        multirate = mr.convert(plain, mr.BetaRange(0.01, 10.0), **SIDES[name], example=example)
        beta = torch.full((len(x),), 0.5)
        for arm, model in (("plain", plain), ("multi-rate", multirate)):
            row = _counted(model, x, beta, precision)
            elements = gated_elements(multirate, x, beta) if arm == "multi-rate" else 0
            row["gated_layers"] = len(multirate.plan.gated) if arm == "multi-rate" else 0
            row["gated_elements_an_image"] = elements
            row["gate_flops_an_image"] = GATE_FLOPS * elements + RESPONSE_FLOPS * row["response_parameters"]
            rows.append({"model": name, "arm": arm, "precision": precision, "batch": len(x), **row})
    return rows


def _counted(model: nn.Module, x: Tensor, beta: Tensor, precision: str) -> dict[str, Any]:
    step = count_step(model, x, beta)
    response = getattr(model, "response", None)
    seconds = {}
    for name, gpu in GPUS.items():
        peaks = {
            DENSE: gpu[precision] * ASSUMED["share of the tensor cores' peak"],
            DEPTHWISE: gpu["vector"] * ASSUMED["share of the peak outside of them"],
        }
        seconds[name] = step.seconds(peaks, gpu["memory"] * ASSUMED["share of the memory's bandwidth"])
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "response_parameters": 0 if response is None else sum(p.numel() for p in response.parameters()),
        "kernels": len(step.operations),
        "flops_an_image": step.flops() // len(x),
        "depthwise_flops_an_image": step.flops(DEPTHWISE) // len(x),
        "bytes_moved_an_image": step.moved // len(x),
        "bytes_kept_an_image": step.kept // len(x),
        "seconds_of_arithmetic_and_memory": seconds,
    }


def one_gpu(row: dict[str, Any], gpu: str) -> dict[str, Any]:
    """Derive time and memory of a step on one GPU."""
    optimizer = OPTIMIZER_BYTES * row["parameters"]
    optimizer /= GPUS[gpu]["memory"] * ASSUMED["share of the memory's bandwidth"]
    bound = row["seconds_of_arithmetic_and_memory"][gpu]
    launched = row["kernels"] * ASSUMED["seconds to launch a kernel"]
    state = (STATE_BYTES + (2 if row["precision"] == "bf16" else 0)) * row["parameters"]
    room = 80e9 * ASSUMED["share of 80 GB that tensors may fill"] - state
    seconds = max(bound, launched) + optimizer
    return {
        **{key: row[key] for key in ("model", "arm", "precision", "batch")},
        "gpu": gpu,
        "bound_seconds": bound,
        "launch_seconds": launched,
        "optimizer_seconds": optimizer,
        "step_seconds": seconds,
        "hours_a_million_images": 1e6 / row["batch"] * seconds / 3600,
        "state_bytes": state,
        "activation_bytes": row["batch"] * row["bytes_kept_an_image"],
        "largest_batch": int(room // row["bytes_kept_an_image"]),
    }


def ring(bytes_: float, members: int) -> float:
    """Return the bytes that each member sends in a ring's all-reduce; a gather or a scatter of it sends half."""
    return 2 * (members - 1) / members * bytes_


def spread_out(row: dict[str, Any], gpu: str, nodes: int, links: int) -> dict[str, Any]:
    """Derive what a data-parallel step sends: within nodes over NVLink, between nodes over so many links a node."""
    share = ASSUMED["share of a link's bandwidth"]
    between = ASSUMED["bytes a second of a link between nodes"] * links * share
    sent = {}
    for what, parameters in (("all", row["parameters"]), ("response", row["response_parameters"])):
        gradients = GRADIENT_BYTES * parameters
        within, across = ring(gradients, GPUS_A_NODE), ring(gradients, nodes)
        seconds = within / (GPUS[gpu]["link"] * share) + across / between
        sent[what] = {"bytes_within": within, "bytes_between": across, "seconds": seconds}
    gpus = nodes * GPUS_A_NODE
    gathered = 2 if row["precision"] == "bf16" else 4
    step = one_gpu(row, gpu)["step_seconds"]
    return {
        **{key: row[key] for key in ("model", "arm", "precision", "batch")},
        **{"gpu": gpu, "nodes": nodes, "gpus": gpus, "links": links, "step_seconds": step},
        "gradients": sent,
        "share_without_overlap": sent["all"]["seconds"] / (step + sent["all"]["seconds"]),
        "sharded_bytes": (gpus - 1) / gpus * row["parameters"] * (2 * gathered + GRADIENT_BYTES),
        "sharded_state_bytes": STATE_BYTES * row["parameters"] / gpus,
    }


def kept_rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a model in the committed file."""
    path = RESULTS / "scaling.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    return [row for row in document["rows"] if row["model"] == name]


def show(rows: list[dict[str, Any]]) -> None:
    """Print the counts."""
    columns = (
        "model",
        "arm",
        "precision",
        "parameters",
        "of the response",
        "GFLOP/image",
        "GB moved",
        "GB kept",
        "kernels",
    )
    table = Table(*columns, title="one step, counted")
    for row in rows:
        numbers = [f"{row[key] / 1e9:.2f}" for key in ("flops_an_image", "bytes_moved_an_image", "bytes_kept_an_image")]
        counts = [f"{row[key]:,}" for key in ("parameters", "response_parameters")]
        table.add_row(row["model"], row["arm"], row["precision"], *counts, *numbers, f"{row['kernels']:,}")
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(BUILDERS), help="count this model; the other's rows are the file's")
    options = parser.parse_args()
    rows = []
    for name in BUILDERS:
        missing = name == "autoencoder-kl" and importlib.util.find_spec("diffusers") is None
        if missing or options.only not in (None, name):
            print(f"{name}: rows of the committed file" + (", for diffusers is not installed" if missing else ""))
            rows += kept_rows(name)
        else:
            rows += count(name)
    show(rows)
    clusters = [(1, 8), *((nodes, links) for nodes in NODES for links in (1, 8))]
    save(
        "scaling",
        rows,
        assumed=dict(ASSUMED),
        gpus={name: dict(gpu) for name, gpu in GPUS.items()},
        one_gpu=[one_gpu(row, gpu) for row in rows for gpu in GPUS],
        clusters=[
            spread_out(row, gpu, *each)
            for row in rows
            if row["precision"] == "bf16"
            for gpu in GPUS
            for each in clusters
        ],
    )


if __name__ == "__main__":
    main()
