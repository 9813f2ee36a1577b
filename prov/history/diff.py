"""What is different between two recorded directories, what git's modes can't tell included."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import Literal

from prov.store.git import run_git
from prov.store.repository import Store
from prov.worktree.attributes import Node, Pair, read_listing, walk

Change = Literal["added", "removed", "changed", "mode", "type", "attributes"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that is not the same; sizes in bytes, modes as st_mode, None where there is none."""

    path: str
    change: Change
    old_mode: int | None = None
    new_mode: int | None = None
    old_oid: str = ""
    new_oid: str = ""

    @property
    def letter(self) -> str:
        return {"added": "A", "removed": "D", "changed": "M", "mode": "P", "type": "T", "attributes": "X"}[self.change]


def diff_pairs(store: Store, old: Pair, new: Pair) -> list[Difference]:
    """Return the differences, sorted by path; mtimes do not count. Identical subtrees are not read."""
    found: list[Difference] = []

    def both(old: Pair, new: Pair, prefix: bytes) -> None:
        if old == new:
            return
        before, after = read_listing(store.objects, old), read_listing(store.objects, new)
        for name in sorted((before.keys() | after.keys()) - {b"."}):
            one, other = before.get(name), after.get(name)
            path = prefix + name
            if one and other and one.is_directory and other.is_directory:
                both(one.pair, other.pair, path + b"/")
                _own_mode(store, one, other, path, found)
            elif one is None or other is None or one.same_content != other.same_content:
                found.extend(_changed(store, path, one, other))

    both(old, new, b"")
    return found


def _own_mode(store: Store, one: Node, other: Node, path: bytes, found: list[Difference]) -> None:
    if one.pair.attributes == other.pair.attributes:
        return
    old, new = (read_listing(store.objects, node.pair)[b"."].mode for node in (one, other))
    if old != new:
        found.append(Difference(_text(path), "mode", old, new))


def _changed(store: Store, path: bytes, one: Node | None, other: Node | None) -> list[Difference]:
    if one is None or other is None:
        node = other or one
        assert node is not None
        made: Change = "removed" if other is None else "added"
        found = [_one_sided(path, node, made)] if not node.is_directory else []
        if node.is_directory:
            inside = [(at, each) for at, each in walk(store.objects, node.pair, path=path + b"/")]
            found += [_one_sided(at, each, made) for at, each in inside if not each.is_directory]
            if not inside:
                found.append(_one_sided(path, node, made))
        return found
    if stat.S_IFMT(one.mode) != stat.S_IFMT(other.mode):
        if one.is_directory or other.is_directory:
            return [*_changed(store, path, one, None), *_changed(store, path, None, other)]
        change: Change = "type"
    elif one.oid != other.oid:
        change = "changed"
    else:
        change = "mode" if one.mode != other.mode else "attributes"
    return [Difference(_text(path), change, one.mode, other.mode, one.oid.hex(), other.oid.hex())]


def _one_sided(path: bytes, node: Node, change: Change) -> Difference:
    if change == "added":
        return Difference(_text(path), change, None, node.mode, "", node.oid.hex())
    return Difference(_text(path), change, node.mode, None, node.oid.hex(), "")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def git_diff(store: Store, old: Pair, new: Pair, *, stat_only: bool, colour: bool) -> str:
    """Return git's own diff of the contents: a patch, or its `--stat`."""
    options = ["--stat"] if stat_only else ["--patch", "--find-renames"]
    options.append("--color=always" if colour else "--color=never")
    answer = run_git(store.path, ["diff", *options, old.tree.hex(), new.tree.hex()])
    return answer.decode("utf-8", "replace")
