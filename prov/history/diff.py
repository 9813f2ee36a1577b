"""What is different between two recorded directories, what git's modes can't tell included."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prov.errors import ProvError
from prov.store.git import run_git
from prov.store.repository import Store
from prov.text import name_text
from prov.worktree.attributes import FileNode, Pair, TreeReader, attribute_line, read_listing, walk

Change = Literal["added", "removed", "changed", "renamed", "mode", "type", "attributes"]
LETTERS = {
    "added": "A",
    "removed": "D",
    "changed": "M",
    "renamed": "R",
    "mode": "P",
    "type": "T",
    "attributes": "X",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that is not the same; modes as st_mode, None where there is none; ids in hex."""

    path: str
    change: Change
    old_mode: int | None = None
    new_mode: int | None = None
    old_oid: str = ""
    new_oid: str = ""
    old_path: str = ""
    """Where it was, of one that is renamed."""
    detail: str = ""
    """What git's modes can't tell, or where a symlink leads."""

    @property
    def letter(self) -> str:
        return LETTERS[self.change]

    @property
    def line(self) -> str:
        """The difference in one line, as people read it."""
        what = name_text(self.path)
        if self.old_path:
            what = f"{name_text(self.old_path)} -> {what}"
        folder = (
            "/"
            if stat.S_ISDIR(self.new_mode or self.old_mode or 0)
            and self.change in ("added", "removed")
            else ""
        )
        modes = ""
        if None not in (self.old_mode, self.new_mode) and self.old_mode != self.new_mode:
            modes = f"  {stat.filemode(self.old_mode or 0)} -> {stat.filemode(self.new_mode or 0)}"
        return (
            f"{self.letter}"
            f" {what}{folder}{modes}{f'  {name_text(self.detail)}' if self.detail else ''}"
        )

    @property
    def beyond_git(self) -> bool:
        """Tell whether git's own diff would not show it, or not all of it."""
        modes = (self.old_mode, self.new_mode)
        odd = any(
            mode is not None and stat.S_IMODE(mode) not in (0o644, 0o755, 0o777) for mode in modes
        )
        other = any(
            mode is not None and not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) for mode in modes
        )
        return (
            odd
            or other
            or self.change == "attributes"
            or (self.change == "added" and bool(self.detail))
        )


def diff_pairs(reader: TreeReader, old: Pair, new: Pair) -> list[Difference]:
    """Return the differences, sorted by path; mtimes do not count. Identical subtrees are not read.

    A file that went, and whose content and mode came up elsewhere, is renamed.
    """
    found: list[Difference] = []
    pending = [(old, new, b"")]
    while pending:
        one_pair, other_pair, prefix = pending.pop()
        if one_pair == other_pair:
            continue
        before, after = read_listing(reader, one_pair), read_listing(reader, other_pair)
        for name in (before.keys() | after.keys()) - {b"."}:
            one, other = before.get(name), after.get(name)
            if one and other and one.is_directory and other.is_directory:
                pending.append((one.pair, other.pair, prefix + name + b"/"))
                found += _own_mode(reader, one, other, prefix + name)
            elif one is None or other is None or one.same_content != other.same_content:
                found += _changed(reader, prefix + name, one, other)
    return sorted(_with_renames(found), key=lambda each: each.path)


def _with_renames(found: list[Difference]) -> list[Difference]:
    gone: dict[tuple[str, int | None], list[Difference]] = {}
    for each in found:
        if each.change == "removed" and each.old_oid:
            gone.setdefault((each.old_oid, each.old_mode), []).append(each)
    moved, renamed = set(), []
    for each in found:
        before = gone.get((each.new_oid, each.new_mode)) if each.change == "added" else None
        if before:
            one = before.pop(0)
            moved.update({id(one), id(each)})
            renamed.append(
                replace(
                    each,
                    change="renamed",
                    old_path=one.path,
                    old_mode=one.old_mode,
                    old_oid=one.old_oid,
                )
            )
    return [each for each in found if id(each) not in moved] + renamed


def _own_mode(reader: TreeReader, one: FileNode, other: FileNode, path: bytes) -> list[Difference]:
    if one.pair.attributes == other.pair.attributes:
        return []
    old, new = (read_listing(reader, node.pair)[b"."] for node in (one, other))
    if (old.mode, old.xattrs, old.owner) == (new.mode, new.xattrs, new.owner):
        return []
    change: Change = "mode" if old.mode != new.mode else "attributes"
    detail = " -> ".join(_attributes(node) for node in (old, new)) if change == "attributes" else ""
    return [Difference(_text(path), change, old.mode, new.mode, detail=detail)]


def _changed(
    reader: TreeReader, path: bytes, one: FileNode | None, other: FileNode | None
) -> list[Difference]:
    if one is None or other is None:
        node = other or one
        assert node is not None
        made: Change = "removed" if other is None else "added"
        if not node.is_directory:
            return [_one_sided(path, node, made)]
        inside = walk(reader, node.pair, path=path + b"/")
        leaves = [
            (at, each) for at, each in inside if not each.is_directory or _is_empty(reader, each)
        ]
        return [_one_sided(at, each, made) for at, each in leaves] or [_one_sided(path, node, made)]
    if stat.S_IFMT(one.mode) != stat.S_IFMT(other.mode):
        if one.is_directory or other.is_directory:
            return [*_changed(reader, path, one, None), *_changed(reader, path, None, other)]
        change: Change = "type"
    elif one.oid != other.oid:
        change = "changed"
    else:
        change = "mode" if one.mode != other.mode else "attributes"
    detail = ""
    if change == "changed" and stat.S_ISLNK(one.mode):
        detail = " -> ".join(_text(reader.blob(node.oid)) for node in (one, other))
    elif change == "attributes":
        detail = " -> ".join(_attributes(node) for node in (one, other))
    return [
        Difference(
            _text(path), change, one.mode, other.mode, one.oid.hex(), other.oid.hex(), detail=detail
        )
    ]


def _is_empty(reader: TreeReader, node: FileNode) -> bool:
    return read_listing(reader, node.pair).keys() == {b"."}


def _attributes(node: FileNode) -> str:
    return _text(attribute_line(b"", node, mtimes=False).strip()) or "none"


def _one_sided(path: bytes, node: FileNode, change: Change) -> Difference:
    oid = "" if node.is_directory else node.oid.hex()
    if change == "removed":
        return Difference(_text(path), change, node.mode, None, oid, "")
    odd = _text(attribute_line(b"", node._replace(link=b""), mtimes=False).strip())
    return Difference(_text(path), change, None, node.mode, "", oid, detail=odd)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def git_diff(store: Store, old: Pair, new: Pair, *, stat_only: bool) -> bytes:
    """Return git's own diff of the contents: a patch, or its `--stat`."""
    options = ["--stat" if stat_only else "--patch", "--find-renames", "--color=never"]
    options += ["--no-ext-diff", "--no-textconv", "--submodule=short"]
    return run_git(store.path, ["diff", *options, old.tree.hex(), new.tree.hex()])


def run_tool(command: Sequence[str], old: str, new: str) -> int:
    """Run a tool that compares two folders, such as diffoscope, on the caller's terminal; return
    its exit status.

    Raises ProvError where it is not installed.
    """
    try:
        return subprocess.run([*command, old, new], check=False).returncode
    except FileNotFoundError as error:
        raise ProvError(
            f"{command[0]} is not installed", hint=f"install it, as in `apt install {command[0]}`"
        ) from error
