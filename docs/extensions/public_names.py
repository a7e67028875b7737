"""What autodoc and napoleon need to render docstrings without a warning, and to warn where one is stale."""

import importlib
import inspect
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

ATTRIBUTES = ("attribute", "data", "property")

_MISSING = object()
_kept: dict[str, list[str]] = {}


def resolve(app: Sphinx, env: Any, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """Find what a docstring refers to under another name than that under which the reference documents it.

    ``multirate.convert.MultiRate`` is found where ``multirate.MultiRate`` is documented, because both are one object; a
    bare name, as signatures have them, where one thing of that name is documented. What is in the package and not in
    the reference is left as it stands. What is neither is stale: Sphinx warns.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    documented = env.domains.python_domain.objects
    found = [
        full
        for full in documented
        if full.rpartition(".")[2] == target.rpartition(".")[2] and not documented[full].aliased
    ]
    if "." in target:
        meant = named(target)
        found = [full for full in found if meant is not _MISSING and named(full) is meant]
    if len(found) == 1:
        entry = documented[found[0]]
        made: nodes.Element = nodes.reference("", "", content, internal=True)
        made["refuri"] = app.builder.get_relative_uri(node["refdoc"], entry.docname) + "#" + entry.node_id
        return made
    return content if found or in_package(target) or of_instances(node) else None


def named(name: str) -> Any:
    """Return what a dotted name means in Python."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, _MISSING)
        return found
    return _MISSING


def of_instances(node: pending_xref) -> bool:
    """Return whether a bare name is an attribute that the class at hand gives its instances."""
    owner = named(f"{node.get('py:module')}.{node.get('py:class')}")
    if not inspect.isclass(owner):
        return False
    return f"self.{node['reftarget']} = " in inspect.getsource(owner)


def in_package(name: str) -> bool:
    """Return whether a name means something in the package: as a whole, or in one of the modules that are loaded."""
    if name.startswith("multirate."):
        return named(name) is not _MISSING
    loaded = [known for known in list(sys.modules) if known.startswith("multirate.")]
    return any(named(f"{module}.{name}") is not _MISSING for module in loaded)


def keep(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Note the docstring of an attribute before napoleon reads "Step size: the first" as one of type "Step size"."""
    if what in ATTRIBUTES:
        _kept[name] = list(lines)


def put_back(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Undo what napoleon made of an attribute's docstring: types are annotated here."""
    if what in ATTRIBUTES:
        lines[:] = _kept.pop(name, lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect, before and after napoleon."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", keep, priority=100)
    app.connect("autodoc-process-docstring", put_back, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
