"""Mutation testing of the mathematics: is each small fault in it noticed by its tests?

    python -m torture.mutants                              # every module, some hours
    python -m torture.mutants --modules beta.py terms.py   # these; the record keeps what it has of the others
    python -m torture.mutants --sample 20 --seed 3         # twenty mutants a module, recorded apart

Works on a copy of the checkout. Writes results/mutants.json: counts a module, and each mutant that no test kills, with
its explanation from survivors.toml. Fails when less than 90% of all mutants, or of those of a core module, are killed,
or when a survivor has no explanation.
"""

import argparse
import hashlib
import importlib
import json
import random
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from torture.mutants_making import Mutant, mutants_of
from torture.mutants_running import OPTIONS, Outcome, Target, outcomes

ROOT = Path(__file__).parents[1]
SURVIVORS = Path(__file__).with_name("survivors.toml")
RECORD = Path(__file__).parent / "results" / "mutants.json"
WANTED = 0.9
_COPIED = ("src", "tests", "examples", "pyproject.toml")
# Imported before anything is forked: what the package and its tests take from elsewhere.
_SHARED = ("torch.func", "hypothesis", "numpy", "rich", "safetensors.torch", "scipy.optimize", "scipy.stats")

CORE = ("beta.py", "response.py", "rectified.py", "layers.py", "terms.py", "logistic.py", "theory.py", "curve.py")
_BY_HAND = "tests/metrics/test_fed_by_hand.py"
TESTS: Mapping[str, Sequence[str]] = {
    "beta.py": ["tests/test_beta.py", "tests/test_beta_edges.py"],
    "response.py": [
        "tests/test_response.py",
        "tests/test_response_edges.py",
        "tests/test_latent_gates.py",
        "tests/test_maps.py",
    ],
    "rectified.py": ["tests/test_rectified_edges.py", "tests/test_rectified.py"],
    "layers.py": ["tests/test_layers.py", "tests/test_fold.py"],
    "terms.py": ["tests/test_terms.py"],
    "logistic.py": ["tests/test_logistic.py", "tests/test_logistic_edges.py"],
    "objectives/base.py": ["tests/objectives"],
    "objectives/rate_distortion.py": ["tests/objectives"],
    "objectives/floor.py": [
        "tests/objectives/test_base.py",
        "tests/objectives/test_floor.py",
        "tests/objectives/test_every_objective.py",
    ],
    "objectives/sigma.py": [
        "tests/objectives/test_base.py",
        "tests/objectives/test_sigma.py",
        "tests/objectives/test_every_objective.py",
    ],
    "objectives/two_terms.py": ["tests/objectives/test_two_terms.py"],
    "objectives/aggregate.py": ["tests/objectives/test_aggregate.py", "tests/objectives/test_total_correlation.py"],
    "objectives/covariance.py": [
        "tests/objectives/test_base.py",
        "tests/objectives/test_covariance.py",
        "tests/objectives/test_every_objective.py",
    ],
    "objectives/discrepancy.py": [
        "tests/objectives/test_base.py",
        "tests/objectives/test_discrepancy.py",
        "tests/objectives/test_every_objective.py",
    ],
    "objectives/total_correlation.py": [
        "tests/objectives/test_base.py",
        "tests/objectives/test_total_correlation.py",
        "tests/objectives/test_every_objective.py",
    ],
    "theory.py": ["tests/test_theory_edges.py", "tests/test_theory.py"],
    "fold.py": ["tests/test_fold_edges.py", "tests/test_fold.py"],
    "curve.py": ["tests/test_curve.py", "tests/test_curve_edges.py", "tests/test_choosing.py"],
    "choosing.py": ["tests/test_choosing.py"],
    "totals.py": ["tests/test_totals_edges.py", "tests/test_totals.py"],
    "comparison.py": ["tests/test_comparison_edges.py", "tests/test_comparison.py"],
    "fairness.py": ["tests/test_comparison_edges.py", "tests/test_comparison.py"],
    "collapse.py": ["tests/test_collapse_edges.py", "tests/test_collapse.py"],
    "training/schedules.py": ["tests/training/test_schedules.py"],
    "metrics/active_units.py": ["tests/metrics/test_active_units.py", _BY_HAND],
    "metrics/decomposition.py": ["tests/metrics/test_decomposition.py", _BY_HAND],
    "metrics/frechet_distance.py": ["tests/metrics/test_frechet_distance.py"],
    "metrics/kernel_distance.py": ["tests/metrics/test_kernel_distance.py"],
    "metrics/isometric_importance.py": ["tests/metrics/test_isometric_importance.py", _BY_HAND],
    "metrics/log_likelihood.py": [
        "tests/metrics/test_log_likelihood.py",
        "tests/metrics/test_log_likelihood_by_hand.py",
    ],
    "metrics/mutual_information_gap.py": ["tests/metrics/test_mutual_information_gap.py", _BY_HAND],
    "metrics/dci.py": ["tests/metrics/test_dci.py", _BY_HAND],
    "metrics/factor_vae_score.py": ["tests/metrics/test_factor_vae_score.py", _BY_HAND],
}
# Beside these, of every module.
_FROZEN = "tests/test_frozen.py::test_every_dataclass_is_frozen[{}]"


class Explanations:
    """Why mutants survive, as a file says.

    An entry has ``why``, and a regular expression ``pattern`` that the whole of ``before => after`` must match, or the
    texts ``before`` and ``after`` (one or a list); with ``modules`` it holds for these alone.

    Args:
        path: of the TOML file, a list of tables ``survivor``.
    """

    def __init__(self, path: Path) -> None:
        self.entries = tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", [])

    def of(self, module: str, mutant: Mutant) -> str | None:
        """Return the explanation of a survivor, or None."""
        for entry in self.entries:
            if module not in entry.get("modules", [module]):
                continue
            after = entry.get("after", [])
            if "pattern" in entry:
                if re.fullmatch(entry["pattern"], f"{mutant.before} => {mutant.after}", re.DOTALL):
                    return str(entry["why"])
            elif mutant.before == entry["before"] and mutant.after in ([after] if isinstance(after, str) else after):
                return str(entry["why"])
        return None


def tried(
    target: Target, name: str, explanations: Explanations, mutants: Sequence[Mutant], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Try mutants of one module.

    Args:
        target: module and tests.
        name: of the module in the record.
        explanations: of survivors.
        mutants: to try.
        before: a result whose unexplained survivors these are, to which what becomes of them is added; None if there
            is none.

    Returns:
        Counts and survivors.
    """
    started, source = time.monotonic(), (target.root / target.path).read_text(encoding="utf-8")
    counted = ("mutants", "killed", "timed_out", "crashed", "seconds")
    old = {key: before[key] if before else 0 for key in counted}
    kinds = Counter[str]()
    survivors = [survivor for survivor in before["survivors"] if survivor["why"] is not None] if before else []
    with tqdm(outcomes(target, source, mutants), total=len(mutants), desc=name, mininterval=5) as progress:
        for mutant, outcome in progress:
            kinds[outcome.kind] += 1
            progress.set_postfix(survived=kinds["survived"], refresh=False)
            if outcome.kind == "survived":
                tqdm.write(f"{name}:{mutant.line} survived: {mutant.before} => {mutant.after}", file=sys.stderr)
                survivors.append(_described(mutant, outcome, explanations.of(name, mutant)))
    return {
        "sha256": hashlib.sha256(source.encode()).hexdigest(),
        "tests": list(target.tests),
        "mutants": old["mutants"] or len(mutants),
        "killed": old["killed"] + kinds["killed"],
        "timed_out": old["timed_out"] + kinds["timed out"],
        "crashed": old["crashed"] + kinds["crashed"],
        "survived": len(survivors),
        "unexplained": sum(survivor["why"] is None for survivor in survivors),
        "seconds": round(old["seconds"] + time.monotonic() - started, 1),
        "survivors": sorted(survivors, key=lambda survivor: survivor["line"]),
    }


def _described(mutant: Mutant, outcome: Outcome, why: str | None) -> dict[str, Any]:
    note = {"note": outcome.by} if outcome.by else {}
    return {"line": mutant.line, "before": mutant.before, "after": mutant.after, "why": why, **note}


def share(modules: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of mutants that tests notice, by failing, hanging or crashing.

    Args:
        modules: results of :func:`tried`.
    """
    every = sum(module["mutants"] for module in modules)
    return 1 - sum(module["survived"] for module in modules) / every if every else 0.0


def failures(modules: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with a result, in words.

    Args:
        modules: results of :func:`tried`, by name.
    """
    core = [name for name in modules if name in CORE or name.startswith("objectives/")]
    found = [f"{name}: {share([modules[name]]):.1%} killed" for name in core if share([modules[name]]) < WANTED]
    if share(list(modules.values())) < WANTED:
        found.append(f"all: {share(list(modules.values())):.1%} killed")
    found += [f"{name}: {m['unexplained']} survivors unexplained" for name, m in modules.items() if m["unexplained"]]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the harness; return the exit code."""
    options = _parsed(arguments)
    for name in _SHARED:
        importlib.import_module(name)
    explanations, known = Explanations(SURVIVORS), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder).resolve() / "copy"
        _copy(root)
        for name in options.modules:
            dotted = "multirate." + name.removesuffix(".py").replace("/", ".")
            target = Target(root, dotted, f"src/multirate/{name}", [*TESTS[name], _FROZEN.format(dotted)])
            before = _known().get(name) if options.again else None
            mutants = _chosen((root / target.path).read_text(encoding="utf-8"), options, before)
            result = {"commit": _commit(), **tried(target, name, explanations, mutants, before)}
            known = (_known() if options.sample is None else known) | {name: result}
            _write(options, known)
            _print(name, known[name])
    wrong = failures(known)
    print(f"{share(list(known.values())):.1%} of {sum(m['mutants'] for m in known.values())} mutants killed")
    print("\n".join(wrong))
    return 1 if wrong else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m torture.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modules", nargs="+", default=list(TESTS), choices=list(TESTS), metavar="MODULE")
    parser.add_argument("--sample", type=int, help="so many mutants a module, chosen at random; all without it")
    parser.add_argument("--again", action="store_true", help="only what survived unexplained, by the record")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    return parser.parse_args(arguments)


def _chosen(source: str, options: argparse.Namespace, before: Mapping[str, Any] | None) -> list[Mutant]:
    """Return the mutants to try: all, a sample, or those that survived before without an explanation."""
    mutants = list(mutants_of(source))
    if before is not None:
        left = [survivor for survivor in before["survivors"] if survivor["why"] is None]
        survivors = {(survivor["line"], survivor["before"], survivor["after"]) for survivor in left}
        return [mutant for mutant in mutants if (mutant.line, mutant.before, mutant.after) in survivors]
    if options.sample is not None and options.sample < len(mutants):
        return random.Random(options.seed).sample(mutants, options.sample)
    return mutants


def _copy(root: Path) -> None:
    root.mkdir()
    leave = shutil.ignore_patterns("__pycache__", ".*cache")
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=leave)
        else:
            shutil.copy(ROOT / name, root / name)


def _known() -> dict[str, Any]:
    """Return the modules of the record that are as they were, with the explanations of today."""
    modules = json.loads(RECORD.read_text(encoding="utf-8"))["result"]["modules"] if RECORD.exists() else {}
    explanations, kept = Explanations(SURVIVORS), {}
    for name, module in modules.items():
        path = ROOT / "src" / "multirate" / name
        if name in TESTS and path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == module["sha256"]:
            for survivor in module["survivors"]:
                mutant = Mutant(survivor["line"], survivor["before"], survivor["after"], "", None, None)
                survivor["why"] = explanations.of(name, mutant)
            module["unexplained"] = sum(survivor["why"] is None for survivor in module["survivors"])
            kept[name] = module
    return kept


def _write(options: argparse.Namespace, modules: Mapping[str, Any]) -> None:
    from torture.shared import record

    ordered = {name: modules[name] for name in TESTS if name in modules}
    settings = {"sample": options.sample, "seed": options.seed, "pytest": " ".join(OPTIONS), "wanted": WANTED}
    totals = {key: sum(m[key] for m in ordered.values()) for key in _COUNTS}
    result = {**totals, "share": round(share(list(ordered.values())), 4), "modules": ordered}
    record("mutants" if options.sample is None else "mutants-sample", settings, result)


def _commit() -> str | None:
    from torture.shared import commit  # which imports the package, that of the checkout, when mutants have been tried

    return commit()


_COUNTS = ("mutants", "killed", "timed_out", "crashed", "survived", "unexplained", "seconds")


def _print(name: str, module: Mapping[str, Any]) -> None:
    print(
        f"{name}: {share([module]):.1%} of {module['mutants']} killed, {module['unexplained']} unexplained", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
