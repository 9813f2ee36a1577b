"""Suggest a missing dependency after a task failed.

A task sees only its declared dependencies, so a missing declaration is the most common mistake. The
log names the file that was not found, and the recorded outputs show which recipe has such a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from prov.recipes.graph import Node
from prov.recipes.recipe import NATIVE
from prov.records.output import read_pair
from prov.records.refs import OUTPUTS, OutputRef, parse_ref
from prov.store.repository import Store
from prov.worktree.attributes import Pair, at_path, read_listing

STAGING = "populate_sysroot"
LIBRARIES = ("usr/lib", "usr/lib64", "lib", "lib64")
PROGRAMS = ("usr/bin", "usr/sbin", "bin", "sbin")
AT_MOST = 5

# A log is untrusted text, so every repetition is bounded, and every pattern starts with a fixed
# text or at the start of a line.
_NAME = r"[\w./+-]{1,200}"
_HEADER = re.compile(rf"fatal error: ({_NAME}): No such file or directory")
_LIBRARY = re.compile(rf"cannot find -l({_NAME})|unable to find library -l({_NAME})")
_MODULE = re.compile(
    rf"Package '?({_NAME})'?(?:, required by '[^']{{0,200}}',)? (?:was )?not found|No package"
    rf" '({_NAME})' found"
)
_PROGRAM = re.compile(
    rf": ({_NAME}): (?:command )?not found|make: ({_NAME}): No such file or directory"
)
LONGEST_LOG = 1 << 20
"""Maximum bytes to search, from the end of the log, where the cause of a failure usually is."""


def wanted(log: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name of each thing that a log reports as missing, and its possible paths."""
    log = log[-LONGEST_LOG:]
    for header in _HEADER.findall(log):
        yield header, (f"usr/include/{header}",)
    for names in _LIBRARY.findall(log):
        name = next(filter(None, names))
        yield (
            f"lib{name}",
            tuple(f"{top}/lib{name}.{kind}" for top in LIBRARIES for kind in ("so", "a")),
        )
    for names in _MODULE.findall(log):
        name = next(filter(None, names))
        yield f"{name}.pc", tuple(f"{top}/pkgconfig/{name}.pc" for top in (*LIBRARIES, "usr/share"))
    for names in _PROGRAM.findall(log):
        name = next(filter(None, names))
        yield name, tuple(f"{top}/{name}" for top in PROGRAMS)


def advice(store: Store, node: Node, log: str) -> list[str]:
    """Return a hint for each missing thing that a recorded output contains."""
    missing = dict(wanted(log))
    if not missing:
        return []
    lines = []
    outputs = _outputs(store)
    for name, paths in list(missing.items())[:AT_MOST]:
        program = any(path.startswith(PROGRAMS) for path in paths)
        key = (
            "depends_native"
            if program and node.recipe.arch not in ("native", "cross")
            else "depends"
        )
        native = program or node.recipe.arch in ("native", "cross")
        having = {
            recipe.removesuffix(NATIVE)
            for recipe, pair in outputs
            if recipe.endswith(NATIVE) == native
            and recipe != node.recipe.name
            and _holds(store, pair, paths)
        }
        if having:
            lines.append(
                f"add {' or '.join(sorted(having))} to `{key}` in {node.recipe.path}: its output"
                f" contains {name}"
            )
    return lines


def _outputs(store: Store) -> list[tuple[str, Pair]]:
    """Return the recipe and the content of each recorded staging package."""
    trees = set()
    for name, oid in store.refs.list(OUTPUTS).items():
        # parsing takes longer than the search
        ref = parse_ref(name) if f"/{STAGING}/" in name else None
        if isinstance(ref, OutputRef) and ref.key.task == STAGING:
            trees.add((ref.key.recipe, store.objects.commit(oid).tree))
    return [(recipe, read_pair(store.objects, tree)) for recipe, tree in sorted(trees)]


def _holds(store: Store, whole: Pair, paths: tuple[str, ...]) -> bool:
    for node in read_listing(store.objects, whole).values():
        if node.is_directory and any(
            at_path(store.objects, node.pair, path.encode()) for path in paths
        ):
            return True
    return False
