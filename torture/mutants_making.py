"""The mutants of a module: its source with one small fault each, made by the operators of mutmut.

mutmut itself leaves out decorated functions (every property), class bodies, tables and constants of a module, which
hold much of the mathematics; so only its operators are taken, and applied everywhere. Left out are, because no number
depends on them: docstrings, annotations, aliases of types, what is inside a ``raise`` (the condition before it is not),
and what Python cannot compile.
"""

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

_LEFT_OUT = (cst.Annotation, cst.Raise, cst.Import, cst.ImportFrom, cst.TypeAlias)


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Args:
        line: where it begins, in the module as it is.
        before: the lines that it changes, without indentation.
        after: what they become.
        code: the whole mutated module.
        scope: first line of the innermost function around it, decorators included; None at the top of the module or in
            the body of a class.
        function: first line of the outermost function whose body holds it; None if a function's body does not, as with
            defaults, decorators and constants.
    """

    line: int
    before: str
    after: str
    code: str
    scope: int | None
    function: int | None


def mutants_of(source: str) -> Iterator[Mutant]:
    """Yield the mutants of a module, from its top to its bottom, no two alike.

    Args:
        source: of the module.
    """
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    functions, seen = _functions(source), {source}
    parts = [wrapper.module.code_for_node(statement) for statement in wrapper.module.body]
    start = source.index(parts[0])
    for statement, part in zip(wrapper.module.body, parts, strict=True):
        places = _Places()
        statement.visit(places)
        for node, changed in places.changes:
            new = wrapper.module.code_for_node(statement.deep_replace(node, changed))  # type: ignore[arg-type]
            code = source[:start] + new + source[start + len(part) :]
            if code in seen or not _compiles(code):
                continue
            seen.add(code)
            first, before, after = _difference(part, new)
            line = positions[node].start.line if node in positions else source[:start].count("\n") + first
            yield Mutant(line, before, after, code, *_scopes(functions, line))
        start += len(part)


class _Places(cst.CSTVisitor):
    """Collects every node that an operator changes, with what it becomes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _LEFT_OUT) or _names_a_type(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.changes += [(node, changed) for changed in operator(node)]
        return True


def _names_a_type(node: cst.CSTNode) -> bool:
    """Whether a statement does no more than to name a type, such as ``Kind = Literal["i", "ii"]``."""
    if isinstance(node, cst.AnnAssign):
        return m.matches(node.annotation, m.Annotation(m.Name("TypeAlias")))
    names = m.OneOf(m.Subscript(m.Name("Literal")), m.Call(m.Name("TypeVar")))
    return m.matches(node, m.Assign(value=names))


def _compiles(code: str) -> bool:
    try:
        compile(code, "<mutant>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _difference(source: str, code: str) -> tuple[int, str, str]:
    """Return the first line that changes, the lines there, and what they become."""
    old, new = source.splitlines(), code.splitlines()
    changes = [c for c in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if c[0] != "equal"]
    before, after = old[changes[0][1] : changes[-1][2]], new[changes[0][3] : changes[-1][4]]
    return changes[0][1] + 1, "\n".join(map(str.strip, before)), "\n".join(map(str.strip, after))


@dataclass(frozen=True)
class _Function:
    """First line (decorators included), first line of the body and last line; whether no function is around it."""

    first: int
    body: int
    last: int
    outermost: bool


def _functions(source: str) -> list[_Function]:
    """Return the functions of a module, as their code objects count lines; a lambda is part of what it is in."""
    found: list[_Function] = []

    def visit(node: ast.AST, outermost: bool) -> None:
        inner = outermost
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found.append(_Function(first, node.body[0].lineno, node.end_lineno or first, outermost))
            inner = False
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(source), True)
    return found


def _scopes(functions: list[_Function], line: int) -> tuple[int | None, int | None]:
    """Return the first lines of the innermost function around a line and of the outermost whose body holds it."""
    around = [function for function in functions if function.first <= line <= function.last]
    outer = [function.first for function in around if function.outermost and line >= function.body]
    return max((f.first for f in around), default=None), min(outer, default=None)
