"""What the source never does: unpickle, evaluate, start a shell, import by a name from outside, speak http.

Every exception is named in ``ALLOWED`` with its reason, and an exception that is no longer needed fails the test too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import multirate

SOURCE = Path(multirate.__file__).parent

# Calls by the end of their dotted name, and what they must have been given (None: there is no way to make them safe).
FORBIDDEN: dict[str, tuple[str, object] | None] = {
    "pickle.load": None,
    "pickle.loads": None,
    "Unpickler": None,
    "torch.load": ("weights_only", True),
    "torch.export.load": None,
    "torch.jit.load": None,
    "torch.hub.load": None,
    "np.load": None,
    "numpy.load": None,
    "np.genfromtxt": None,
    "joblib.load": None,
    "joblib.Memory": None,
    "shelve.open": None,
    "marshal.loads": None,
    "pd.read_pickle": None,
    "yaml.load": None,
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
    "yaml.load_all": None,
    "yaml.unsafe_load_all": None,
    "os.system": None,
    "os.popen": None,
    "os.execv": None,
    "subprocess.getoutput": None,
    "subprocess.run": None,
    "subprocess.Popen": None,
    "subprocess.check_output": None,
    "subprocess.check_call": None,
    "runpy.run_path": None,
    "importlib.import_module": None,
    "spec_from_file_location": None,
    "extractall": None,
    "shutil.unpack_archive": None,
    "archive.extract": None,
    "tempfile.mktemp": None,
    "urllib.request.urlopen": None,
    "urlretrieve": None,
    "requests.get": None,
    "requests.post": None,
    "torch.hub.download_url_to_file": None,
    "load_state_dict_from_url": None,
}
BUILTINS = ("eval", "exec", "compile", "__import__")
WORDS = {"shell": True, "trust_remote_code": True, "allow_pickle": True, "verify": False}
MODULES = (
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "jsonpickle",
    "xmlrpc",
    "telnetlib",
    "ftplib",
)

ALLOWED = {
    ("_lazy.py", "importlib.import_module"): "names of the package's own modules, from tables in the source",
    ("cli/main.py", "importlib.import_module"): "a command of cli/names.py, compared before",
    ("data/loading.py", "importlib.import_module"): "a module of the table beside it, by a name that is a key there",
    ("experiments/reproduce/recipes.py", "importlib.import_module"): "a recipe of the table beside it",
    ("integrations/extras.py", "importlib.import_module"): "an optional library, by a constant of its caller",
    ("metrics/features.py", "importlib.import_module"): "an optional library, by a constant of its caller",
    ("training/tracking.py", "importlib.import_module"): "the constant trackio",
    ("training/folder.py", "subprocess.run"): "git, in the package's own folder, to record the commit; no shell",
    ("integrations/torch_export.py", "torch.export.load"): "checks the file that export_torch has just written itself",
}
# Plain http may be named where nothing is fetched: names of XML, and this machine's own server.
HTTP = {"integrations/explorer/server.py"}


def dotted(node: ast.expr) -> str:
    """Return a called name as it is written, ``a.b.c``; what is not a name is a ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def names_of(tree: ast.Module) -> dict[str, str]:
    """Return what imported names stand for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return found


def findings(text: str) -> Iterator[str]:
    """Yield the forbidden things of a module's source."""
    tree = ast.parse(text)
    known = names_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (module for module in modules if module.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("http://"):
            yield "http://"
        elif isinstance(node, ast.Call):
            yield from forbidden_call(node, known)


def forbidden_call(node: ast.Call, known: dict[str, str]) -> Iterator[str]:
    """Yield what is forbidden of one call."""
    written = dotted(node.func)
    head, dot, rest = written.partition(".")
    name = f"{known.get(head, head)}{dot}{rest}"
    given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
    if isinstance(node.func, ast.Name) and written in BUILTINS:
        yield written
    yield from (f"{word}={value}" for word, value in WORDS.items() if word in given and given[word] == value)
    if name.startswith("safetensors."):  # its torch.load reads numbers and names alone
        return
    for pattern, needed in FORBIDDEN.items():
        short = name.replace("numpy.", "np.")
        if any(each == pattern or each.endswith(f".{pattern}") for each in {name, written, short}):
            if needed is None or given.get(needed[0]) is not needed[1]:
                yield pattern
            return


@pytest.mark.slow
def test_the_source_has_no_way_to_run_what_a_file_says() -> None:
    found = {
        (str(path.relative_to(SOURCE).as_posix()), what)
        for path in sorted(SOURCE.rglob("*.py"))
        for what in findings(path.read_text(encoding="utf-8"))
        if not (what == "http://" and path.relative_to(SOURCE).as_posix() in HTTP)
    }
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set()


BAD = [
    "import pickle",
    "from pickle import loads",
    "import torch\ntorch.load(path)",
    "import torch\ntorch.load(path, weights_only=False)",
    "from torch import load\nload(path)",
    "import numpy as np\nnp.load(path)",
    "import numpy\nnumpy.load(path)",
    "from numpy import load as read\nread(path)",
    "import numpy as np\nnp.lib.format.read_array(file, allow_pickle=True)",
    "import joblib\njoblib.load(path)",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "from yaml import unsafe_load\nunsafe_load(text)",
    "eval(text)",
    "exec(text)",
    "__import__(name)",
    "import subprocess\nsubprocess.run(words)",
    "run(words, shell=True)",
    "import os\nos.system(words)",
    "archive.extractall(folder)",
    "import tempfile\ntempfile.mktemp()",
    "address = 'http://example.org/file'",
    "import requests\nrequests.get(address)",
    "session.get(address, verify=False)",
    "from_pretrained(name, trust_remote_code=True)",
    "from importlib import import_module\nimport_module(name)",
]


@pytest.mark.parametrize("text", BAD)
def test_each_of_these_would_be_noticed(text: str) -> None:
    assert list(findings(text))


GOOD = [
    "import torch\ntorch.load(path, map_location='cpu', weights_only=True)",
    "model.eval()",
    "import re\nre.compile(text)",
    "import torch\ntorch.compile(model)",
    "import safetensors.torch\nsafetensors.torch.load(content)",
    "address = 'https://example.org/file'",
]


@pytest.mark.parametrize("text", GOOD)
def test_none_of_these_is_a_finding(text: str) -> None:
    assert list(findings(text)) == []


def test_the_explorers_page_makes_nothing_but_text_of_text() -> None:
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "srcdoc",
        "javascript:",
        "createContextualFragment",
        "DOMParser",
    )
    scripts = list((SOURCE / "integrations/explorer/page").glob("*.js"))
    assert len(scripts) > 10
    found = [(path.name, word) for path in scripts for word in forbidden if word in path.read_text(encoding="utf-8")]
    assert found == []
