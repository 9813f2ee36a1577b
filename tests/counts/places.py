"""Counts of places: each function yields the places in a module, one line for each."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.counts.complexity import complexity
from tests.counts.module import Module

NO_KEYS = {
    "access.py: allowed.split(':')": "GIT_ALLOW_PROTOCOL, a list of protocols",
    "git.py: variables['GIT_ALLOW_PROTOCOL'].split(':')": "the same",
    "facts.py: line.partition(':')": "a line of pseudo's",
    "embedded_paths.py: node.fixme.decode().partition(':')": "a mark: its kind and letters",
    "publication.py: extra.get('workdir', '').partition(':')": "a commit and its digest",
    "signature.py: line.split(':')": "a line of gpg's",
    "toolchain.py: name.partition(':')": "a Debian package and its architecture",
    "toolchain.py: self.name.partition(':')": "the same",
    "project.py: key.rpartition(':')": "--set RECIPE:VARIABLE=VALUE",
    "compose.py: conflict.first.partition(':')": "an owner is any text there",
    "merge.py: claimant.partition(':')": "an owner is any text there: records are above worktree",
}
"""Allowed splits at a colon of strings other than task keys, with the kind of string."""

EMPTY_NAME = re.compile(
    r"alone|begun|chosen|done|each|found|given|gone|got|held|here|kept|known|left|made|put|said|seen"
    "|taken|there|told|used|wanted|what|where"
)
"""Names that do not describe their value."""

OUR_REF = re.compile(r"refs/(tags|heads|prov)/\S")
OUR_PREFIX = re.compile(r"refs/(tags|heads|prov)/$")
SPLITTERS = ("partition", "rpartition", "split", "rsplit", "replace")


def ref_literals(module: Module) -> Iterator[str]:
    """Literal names of refs, and names built from a literal prefix."""
    if module.package == "prov.records":
        return
    docstrings, prefixes = set[int](), set[int]()
    for node in module.nodes:
        match node:
            case ast.Expr():
                docstrings.add(id(node.value))
            case ast.JoinedStr():
                prefixes |= {id(part) for part in node.values[:-1]}
            case ast.BinOp():
                prefixes.add(id(node.left))
    for node in module.nodes:
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        is_prefix = id(node) in prefixes and OUR_PREFIX.search(text_of(node))
        is_head = text_of(node).startswith("ref: ")  # git's file HEAD
        if not is_head and (is_prefix or OUR_REF.search(text_of(node))):
            yield module.at(node)


def text_of(constant: ast.Constant) -> str:
    """Return the text of a string or bytes constant, or an empty text for other constants."""
    match constant.value:
        case bytes(data):
            return data.decode("latin-1")
        case str(text):
            return text
    return ""


def colon_splits(module: Module) -> Iterator[ast.Call]:
    for node in module.nodes:
        match node:
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=":"), *_]):
                if method in SPLITTERS:
                    yield node


def key_splits(module: Module) -> Iterator[str]:
    """Task keys split by hand."""
    if module.package == "prov.records":
        return
    for call in colon_splits(module):
        if f"{module.path.name}: {ast.unparse(call)}" not in NO_KEYS:
            yield module.at(call)


def second_parents(module: Module) -> Iterator[str]:
    """Code that goes from a task commit to its record."""
    if module.package == "prov.records":
        return
    for node in module.nodes:
        match node:
            case ast.Subscript(value=ast.Attribute(attr="parents"), slice=ast.Constant(value=1)):
                yield module.at(node)


def conditionals(node: ast.AST) -> list[ast.IfExp]:
    return [inner for inner in ast.walk(node) if isinstance(inner, ast.IfExp)]


def nested_conditionals(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.IfExp) and len(conditionals(node)) > 1:
            yield module.at(node)


def conditionals_in_fstrings(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.FormattedValue) and conditionals(node):
            yield module.at(node.value)


def complex_functions(module: Module) -> Iterator[str]:
    for function in module.functions:
        if complexity(function) > 15:
            yield f"{module.name}:{function.lineno}: {function.name}: {complexity(function)}"


def bindings(module: Module) -> Iterator[tuple[str, ast.Name | ast.arg]]:
    for node in module.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node
        elif isinstance(node, ast.arg) and node.arg not in ("self", "cls"):
            yield node.arg, node


def empty_names(module: Module) -> Iterator[str]:
    return (module.at(node) for name, node in bindings(module) if EMPTY_NAME.fullmatch(name))


def expected_tests(module: Module) -> Path:
    """Return the test file of a module, as defined in CONTRIBUTING."""
    folders = module.name.split("/")[:-1]
    folder = Path("tests", *(folders if folders[0] == "cli" else folders[1:]))
    return folder / f"test_{module.path.stem.lstrip('_')}.py"


def untested_modules(module: Module) -> Iterator[str]:
    """Modules without a test file of their name."""
    if module.is_program or module.path.stem == "__init__":
        return
    if not (module.root / expected_tests(module)).exists():
        yield f"{module.name}: {expected_tests(module)}"


def ambiguous_classes(modules: list[Module]) -> list[str]:
    """Class names that two packages define."""
    packages = defaultdict[str, set[str]](set)
    for module in modules:
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                packages[node.name].add(module.package)
    return [f"{name}: {', '.join(sorted(of))}" for name, of in packages.items() if len(of) > 1]


def stale_exceptions(modules: list[Module]) -> list[str]:
    """Unneeded exceptions to key splits."""
    used = {
        f"{module.path.name}: {ast.unparse(call)}"
        for module in modules
        for call in colon_splits(module)
    }
    return sorted(NO_KEYS.keys() - used)


FINDERS: dict[str, Callable[[Module], Iterator[str]]] = {
    "ref literals": ref_literals,
    "key splits": key_splits,
    "second parents": second_parents,
    "nested conditionals": nested_conditionals,
    "conditionals in f-strings": conditionals_in_fstrings,
    "complexity over 15": complex_functions,
    "empty names": empty_names,
    "untested modules": untested_modules,
}


COUNTS = (*FINDERS, "ambiguous classes", "stale exceptions")
"""The counts of places, by name."""


def places(modules: list[Module]) -> dict[str, list[str]]:
    """Return the places of each count."""
    by_count = {
        name: [place for module in modules for place in finder(module)]
        for name, finder in FINDERS.items()
    }
    by_count["ambiguous classes"] = ambiguous_classes(modules)
    by_count["stale exceptions"] = stale_exceptions(modules)
    return by_count
