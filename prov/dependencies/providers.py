"""Find the recipes that provide files which a task looked for in vain."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from prov.records.keys import TaskKey
from prov.worktree.attributes import Pair, TreeReader, read_listing

_Trie = dict[bytes, "_Trie"]
_END = b""
"""The name under which a trie marks the end of a path."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An output of a different recipe that could be in a task's sysroots."""

    key: TaskKey
    is_native: bool
    folders: tuple[Pair, ...]
    """The recorded folders whose content would be in the sysroot."""


def provided_files(
    reader: TreeReader, providers: Iterable[Provider], paths: Iterable[tuple[bool, str]]
) -> dict[str, list[tuple[bool, str]]]:
    """Return recipe -> the files and links that it provides, of paths relative to sysroots.

    A path is a pair: whether the sysroot is the native one, and the path there. Only folders on the
    way to these paths are read.
    """
    tries: dict[bool, _Trie] = {False: {}, True: {}}
    for is_native, path in paths:
        _add_path(tries[is_native], os.fsencode(path))
    provided: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for provider in providers:
        trie = tries[provider.is_native]
        for folder in provider.folders:
            provided[provider.key.recipe] += [
                (provider.is_native, os.fsdecode(path)) for path in _present(reader, folder, trie)
            ]
    return {recipe: sorted(set(files)) for recipe, files in provided.items() if files}


def _add_path(trie: _Trie, path: bytes) -> None:
    for part in path.split(b"/"):
        trie = trie.setdefault(part, {})
    trie[_END] = {}


def _present(reader: TreeReader, top: Pair, trie: _Trie) -> list[bytes]:
    """Return the paths of a trie that are files or links in a folder."""
    present = []
    pending = [(b"", top, trie)] if trie else []
    while pending:
        prefix, pair, below = pending.pop()
        listing = read_listing(reader, pair)
        for name, inner in below.items():
            node = listing.get(name)
            if node is None or name == b".":
                continue
            if node.is_directory:
                pending.append((prefix + name + b"/", node.pair, inner))
            elif _END in inner:
                present.append(prefix + name)
    return present
