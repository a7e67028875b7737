"""Requests of many threads to one converted model: each answer is, bit for bit, the one that a single thread gets.

Requests have their own betas, one or one an example, their own data and their own noise, and go through ``forward``,
``terms``, the encoder, the decoder, gradients and nested betas. Some ask for a beta outside the range and have to be
refused, with nothing left behind. Meanwhile further threads fold the model and evaluate it, and their answers are
compared as well.
"""

import argparse
import hashlib
import itertools
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import multirate as mr
from multirate.data import Source, as_source
from multirate.data.text import TextSource
from multirate.data.vocabulary import Vocabulary
from multirate.errors import BetaError
from torture.shared import record

RANGE = mr.BetaRange(0.01, 10.0)
LATENTS = 4
# Of each model: its shape of one example, and whether it takes a beta an example (a recurrent layer gates weights).
MODELS: Mapping[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...], bool]] = {
    "mlp": (lambda: mr.models.mlp((1, 8, 8), latents=LATENTS, hidden=(64, 32)), (1, 8, 8), True),
    "convnet": (lambda: mr.models.convnet((1, 28, 28), latents=LATENTS, width=4), (1, 28, 28), True),
    "lstm": (
        lambda: mr.models.lstm((12,), latents=LATENTS, vocabulary_size=40, embedding=16, hidden=24),
        (12,),
        False,
    ),
}
LARGEST_BATCH = 8
# Requests are made with gradients, without, and in inference mode.
MODES = (nullcontext, torch.no_grad, torch.inference_mode)
# Different folds and evaluations, which are asked for again and again.
SIDE_JOBS = 12
# Seconds between changes of thread; Python's own would let most requests end undisturbed.
SWITCH = 1e-4
FAILURES_KEPT = 50

Answer: TypeAlias = Sequence[Tensor]


class OwnNoise(TorchFunctionMode):
    """Posterior samples of a block come from a generator of its own; modes hold for one thread."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func``, with the generator where it draws."""
        kwargs = kwargs or {}
        draws = func in (torch.normal, Tensor.normal_)
        return func(*args, **(kwargs | {"generator": self.generator} if draws else kwargs))


@dataclass(frozen=True)
class Request:
    """One request: what is asked for, with which betas and data."""

    kind: str
    betas: Any
    other: float
    x: Tensor
    z: Tensor
    seed: int
    mode: Callable[[], AbstractContextManager[object]]


@dataclass
class Found:
    """What came of the requests."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    wrong: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, failure: str | None) -> None:
        """Count an answer, and keep what is wrong with it."""
        with self.lock:
            self.answers[what] += 1
            self.wrong += failure is not None
            if failure is not None and len(self.failures) < FAILURES_KEPT:
                self.failures.append(f"{what}: {failure}")


def built(name: str, seed: int) -> mr.MultiRate:
    """Return a converted model whose gates have moved from where they start."""
    torch.manual_seed(seed)
    model = mr.convert(MODELS[name][0](), RANGE)
    with torch.no_grad():
        for parameter in model.response.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def data_of(name: str, examples: int, generator: torch.Generator) -> Tensor:
    """Return examples that the model takes: pixels in [0, 1], or words, an end token and padding."""
    shape = MODELS[name][1]
    if name != "lstm":
        return torch.rand(examples, *shape, generator=generator)
    words = torch.randint(4, 40, (examples, *shape), generator=generator)
    ends = torch.randint(1, shape[0], (examples, 1), generator=generator)
    place = torch.arange(shape[0])
    return torch.where(place < ends, words, torch.where(place == ends, 3, 0))


def request_of(name: str, seed: int, number: int) -> Request:
    """Return the request of this number; it depends on nothing else."""
    chance = random.Random(f"{name} {seed} {number}")
    generator = torch.Generator().manual_seed(chance.getrandbits(60))
    x = data_of(name, chance.randint(1, LARGEST_BATCH), generator)
    beta, other = (RANGE.low * (RANGE.high / RANGE.low) ** chance.random() for _ in range(2))
    betas: Any = beta
    if MODELS[name][2] and chance.random() < 0.5:
        betas = RANGE.low * (RANGE.high / RANGE.low) ** torch.rand(len(x), generator=generator)
    kind = chance.choice([*KINDS])
    z = torch.randn(len(x), LATENTS, generator=generator)
    return Request(kind, betas, other, x, z, chance.getrandbits(60), chance.choice(MODES))


def _forward(model: mr.MultiRate, one: Request) -> Answer:
    return [model(one.x, beta=one.betas)]


def _terms(model: mr.MultiRate, one: Request) -> Answer:
    with OwnNoise(one.seed):
        terms = model.terms(one.x, beta=one.betas)
    return [terms.rate, terms.distortion, terms.latent_rate, terms.posterior.sample]


def _encode(model: mr.MultiRate, one: Request) -> Answer:
    with model.at(one.betas):
        posterior: Any = model.base.encode(one.x)
    return [posterior.mean, posterior.stddev]


def _decode(model: mr.MultiRate, one: Request) -> Answer:
    base: Any = model.base
    with model.at(one.betas):
        decoded = base.decode(one.z, one.x) if base.name == "lstm" else base.decode(one.z).mean
    return [decoded]


def _gradient(model: mr.MultiRate, one: Request) -> Answer:
    parameters = [*model.parameters()]
    with torch.inference_mode(False), torch.enable_grad(), OwnNoise(one.seed):
        objective = model.terms(one.x, beta=one.betas).objective(one.betas).sum()
        return torch.autograd.grad(objective, parameters, materialize_grads=True)


def _nested(model: mr.MultiRate, one: Request) -> Answer:
    with model.at(one.betas):
        return [model(one.x), model(one.x, beta=one.other), model(one.x)]


def _refused(model: mr.MultiRate, one: Request) -> Answer:
    for beta in (1e3 * RANGE.high, None):  # the second would be answered if the first had left a beta behind
        try:
            model(one.x, beta=beta)
        except BetaError:
            continue
        raise AssertionError(f"beta {beta} was not refused")
    return []


KINDS: Mapping[str, Callable[[mr.MultiRate, Request], Answer]] = {
    "forward": _forward,
    "terms": _terms,
    "encode": _encode,
    "decode": _decode,
    "gradient": _gradient,
    "nested": _nested,
    "refused": _refused,
}


def digest(tensors: Answer) -> bytes:
    """Return a digest of types, shapes and bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {list(tensor.shape)} ".encode())
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.digest()


def answered(model: mr.MultiRate, one: Request) -> bytes:
    """Return the digest of the answer to a request."""
    with one.mode():
        return digest(KINDS[one.kind](model, one))


def source_of(x: Tensor) -> Source:
    """Return data as evaluation takes them."""
    if x.is_floating_point():
        return as_source(x)
    tokens = x[x > 0].numpy().astype(np.int32)
    offsets = np.concatenate([[0], (x > 0).sum(1).cumsum(0).numpy()])
    return TextSource(tokens, offsets, Vocabulary([f"w{word}" for word in range(36)]))


def side_job(model: mr.MultiRate, data: Tensor, number: int) -> bytes:
    """Fold the model, or evaluate it at some betas with some noise; return the digest of what came of it."""
    beta = float(RANGE.grid(SIDE_JOBS)[number % SIDE_JOBS])
    if number % 2:
        plain = mr.fold(model, beta)
        traces = [name for name, module in plain.named_modules() if "forward" in vars(module)]
        if traces:
            raise AssertionError(f"the folded model has a forward of its own at {traces}")
        with OwnNoise(number), torch.no_grad():
            terms: Any = plain.terms(data)  # type: ignore[operator]  # every model here has it
        return digest([*plain.state_dict().values(), terms.rate, terms.distortion])
    curve = mr.evaluate(model, source_of(data), [beta, 1.0], batch_size=5, seed=number, progress=False)
    numbers = [[*point.values()] for point in curve.points]
    return digest([torch.tensor(numbers, dtype=torch.float64)])


@contextmanager
def switching(seconds: float) -> Iterator[None]:
    """Let Python change threads so often within a block."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def compare(found: Found, what: str, truth: bytes, work: Callable[[], bytes]) -> None:
    """Do some work and note whether its digest is the one that it should be."""
    try:
        failure = None if work() == truth else "it differs from the answer to a single thread"
    except Exception as error:  # whatever goes wrong in a thread is a finding
        failure = f"{type(error).__name__}: {error}"
    found.note(what, failure)


def ask_all(model: mr.MultiRate, name: str, size: int, seed: int, threads: int, sides: int) -> dict[str, Any]:
    """Ask one model for everything in one thread, then from many while others fold and evaluate; compare."""
    found, data = Found(), data_of(name, 12, torch.Generator().manual_seed(seed))
    before = digest([*model.state_dict().values()])
    start = time.perf_counter()
    asked = [request_of(name, seed, number) for number in range(size)]
    made = time.perf_counter()
    truth = [answered(model, one) for one in asked]
    alone = time.perf_counter() - made
    jobs = [side_job(model, data, number) for number in range(SIDE_JOBS)]
    numbers, over = iter(range(size)), threading.Event()
    side_numbers = itertools.count()

    def requests() -> None:
        for number in numbers_of(numbers):
            compare(found, f"{name} {asked[number].kind}", truth[number], lambda: answered(model, asked[number]))  # noqa: B023

    def side() -> None:
        while not over.is_set():
            number = next(side_numbers) % SIDE_JOBS
            what = f"{name} {'fold' if number % 2 else 'evaluate'} beside"
            compare(found, what, jobs[number], lambda: side_job(model, data, number))  # noqa: B023

    asking = [threading.Thread(target=requests, daemon=True) for _ in range(threads)]
    beside = [threading.Thread(target=side, daemon=True) for _ in range(sides)]
    with switching(SWITCH):
        begin = time.perf_counter()
        for thread in (*beside, *asking):
            thread.start()
        for thread in asking:
            thread.join()
        together = time.perf_counter() - begin
        over.set()
        for thread in beside:
            thread.join()
    left = left_behind(model, before)
    return {
        "answers": dict(sorted(found.answers.items())),
        "wrong": found.wrong + len(left),
        "failures": found.failures + [f"{name}: {what}" for what in left],
        "requests_per_second_one_thread": round(size / alone, 1),
        "requests_per_second_all_threads": round(size / together, 1),
        "seconds": round(time.perf_counter() - start, 1),
    }


def numbers_of(shared: Iterator[int]) -> Iterator[int]:
    """Yield what is left of an iterator of a range, which several threads share: ``next`` of one is atomic."""
    while (number := next(shared, None)) is not None:
        yield number


def left_behind(model: mr.MultiRate, before: bytes) -> list[str]:
    """Return what the requests have changed in the model for good: nothing, or in words."""
    layers = [name for name, module in model.named_modules() if "forward" in vars(module)]
    checks = {
        "weights have changed": digest([*model.state_dict().values()]) != before,
        "a parameter has a gradient": any(parameter.grad is not None for parameter in model.parameters()),
        "a module is in training mode": any(module.training for module in model.modules()),
        f"layers have forwards of their own: {layers}": bool(layers),
        "a beta is still held": model._active.gates is not None,
    }
    return [what for what, wrong in checks.items() if wrong]


def run(requests: int, threads: int, sides: int, seed: int, names: Sequence[str] = tuple(MODELS)) -> dict[str, Any]:
    """Ask each model for its share of the requests.

    Args:
        requests: in all, compared one by one with those of a single thread.
        threads: that ask.
        sides: threads that fold and evaluate meanwhile.
        seed: of models, data, betas and noise.
        names: of the models.

    Returns:
        What was found, as JSON.
    """
    torch.set_num_threads(1)
    logging.getLogger("multirate").setLevel(logging.ERROR)  # these models are not trained, and their curves say so
    models = {}
    for index, name in enumerate(names):
        size = requests // len(names) + (index < requests % len(names))
        models[name] = ask_all(built(name, seed), name, size, seed, threads, sides)
        print(f"{name}: {size} requests, {models[name]['wrong']} wrong, {models[name]['seconds']} s", flush=True)
    counts = Counter[str]()
    for found in models.values():
        counts.update(found["answers"])
    beside = sum(number for what, number in counts.items() if what.endswith(" beside"))
    return {
        "requests": sum(counts.values()) - beside,
        "folds_and_evaluations_beside": beside,
        "wrong": sum(found["wrong"] for found in models.values()),
        "failures": [failure for found in models.values() for failure in found["failures"]],
        "models": {name: {k: v for k, v in found.items() if k != "failures"} for name, found in models.items()},
    }


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(prog="python -m torture.requests", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000, help="in all, over the models")
    parser.add_argument("--threads", type=int, default=8, help="that ask")
    parser.add_argument("--sides", type=int, default=2, help="threads that fold and evaluate meanwhile")
    parser.add_argument("--seed", type=int, default=0, help="of models, data, betas and noise")
    options = parser.parse_args()
    found = run(options.requests, options.threads, options.sides, options.seed)
    path = record("requests", vars(options), found)
    print(f"{found['requests']} requests, {found['wrong']} wrong; wrote {path}")
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
