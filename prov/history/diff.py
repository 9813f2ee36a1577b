"""Compare two recorded directories, including attributes that git's modes lack."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
    """A path that differs. Modes are st_mode values, None if the path is missing; ids are hex."""

    path: str
    change: Change
    old_mode: int | None = None
    new_mode: int | None = None
    old_oid: str = ""
    new_oid: str = ""
    old_path: str = ""
    """The old path of a renamed file."""
    detail: str = ""
    """Attributes that git's modes lack, or the old and new target of a symlink."""

    @property
    def letter(self) -> str:
        return LETTERS[self.change]

    @property
    def line(self) -> str:
        """The difference as one printable line."""
        path = name_text(self.path)
        if self.old_path:
            path = f"{name_text(self.old_path)} -> {path}"
        if self.is_folder and self.change in ("added", "removed"):
            path += "/"
        columns = [f"{self.letter} {path}"]
        if self.old_mode and self.new_mode and self.old_mode != self.new_mode:
            columns.append(f"{stat.filemode(self.old_mode)} -> {stat.filemode(self.new_mode)}")
        if self.detail:
            columns.append(name_text(self.detail))
        return "  ".join(columns)

    def table(self) -> dict[str, str | int | None]:
        """Return the difference as JSON answers have it: None for a missing id or path."""
        optional = {
            "old_oid": self.old_oid or None,
            "new_oid": self.new_oid or None,
            "old_path": self.old_path or None,
        }
        return asdict(self) | optional

    @property
    def is_folder(self) -> bool:
        """Whether the path is a folder, or was one before it was removed."""
        return stat.S_ISDIR(self.new_mode or self.old_mode or 0)

    @property
    def beyond_git(self) -> bool:
        """Whether git's own diff would hide the difference or part of it."""
        if self.change == "attributes" or (self.change == "added" and self.detail):
            return True
        modes = [mode for mode in (self.old_mode, self.new_mode) if mode is not None]
        return not all(map(_is_git_mode, modes))


def _is_git_mode(mode: int) -> bool:
    """Return whether git can store a mode: of regular files and symlinks."""
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return False
    return stat.S_IMODE(mode) in (0o644, 0o755, 0o777)


def diff_pairs(reader: TreeReader, old: Pair, new: Pair) -> list[Difference]:
    """Return the differences, sorted by path. Mtimes are ignored; identical subtrees are not read.

    A removed file is reported as renamed if a file with the same content and mode was added.
    """
    differences: list[Difference] = []
    pending = [(old, new, b"")]
    while pending:
        old_pair, new_pair, prefix = pending.pop()
        if old_pair == new_pair:
            continue
        before, after = read_listing(reader, old_pair), read_listing(reader, new_pair)
        for name in (before.keys() | after.keys()) - {b"."}:
            path, one, other = prefix + name, before.get(name), after.get(name)
            if one and other and one.is_directory and other.is_directory:
                pending.append((one.pair, other.pair, path + b"/"))
                differences += _own_mode(reader, one, other, path)
            elif one is None or other is None or one.same_content != other.same_content:
                differences += _changed(reader, path, one, other)
    # sorted, so that the choice among several renamed files with one content is deterministic
    renamed = _with_renames(sorted(differences, key=_by_path))
    return sorted(renamed, key=_by_path)


def _by_path(difference: Difference) -> str:
    return difference.path


def _with_renames(differences: list[Difference]) -> list[Difference]:
    """Return the differences, with removed and added paths of one content merged into renames."""
    removed: dict[tuple[str, int | None], list[Difference]] = {}
    for difference in differences:
        if difference.change == "removed" and difference.old_oid:
            content = (difference.old_oid, difference.old_mode)
            removed.setdefault(content, []).append(difference)
    merged, renamed = set(), []
    for difference in differences:
        content = (difference.new_oid, difference.new_mode)
        sources = removed.get(content) if difference.change == "added" else None
        if sources:
            source = sources.pop(0)
            merged.update({id(source), id(difference)})
            renamed.append(_renamed(source, difference))
    return [difference for difference in differences if id(difference) not in merged] + renamed


def _renamed(source: Difference, target: Difference) -> Difference:
    return replace(
        target,
        change="renamed",
        old_path=source.path,
        old_mode=source.old_mode,
        old_oid=source.old_oid,
    )


def _own_mode(reader: TreeReader, one: FileNode, other: FileNode, path: bytes) -> list[Difference]:
    """Return the difference between the modes and attributes of two folders, if any."""
    if one.pair.attributes == other.pair.attributes:
        return []
    old, new = (read_listing(reader, node.pair)[b"."] for node in (one, other))
    if (old.mode, old.xattrs, old.owner) == (new.mode, new.xattrs, new.owner):
        return []
    if old.mode != new.mode:
        return [Difference(_text(path), "mode", old.mode, new.mode)]
    return [
        Difference(_text(path), "attributes", old.mode, new.mode, detail=_both_attributes(old, new))
    ]


def _changed(
    reader: TreeReader, path: bytes, one: FileNode | None, other: FileNode | None
) -> list[Difference]:
    """Return the differences of a path that is a folder on at most one side."""
    if other is None:
        return _only_one(reader, path, one, "removed") if one is not None else []
    if one is None:
        return _only_one(reader, path, other, "added")
    if one.is_directory or other.is_directory:
        return [
            *_only_one(reader, path, one, "removed"),
            *_only_one(reader, path, other, "added"),
        ]
    change = _kind_of_change(one, other)
    detail = ""
    if change == "changed" and stat.S_ISLNK(one.mode):
        detail = " -> ".join(_text(reader.blob(node.oid)) for node in (one, other))
    elif change == "attributes":
        detail = _both_attributes(one, other)
    oids = (one.oid.hex(), other.oid.hex())
    return [Difference(_text(path), change, one.mode, other.mode, *oids, detail=detail)]


def _kind_of_change(one: FileNode, other: FileNode) -> Change:
    if stat.S_IFMT(one.mode) != stat.S_IFMT(other.mode):
        return "type"
    if one.oid != other.oid:
        return "changed"
    if one.mode != other.mode:
        return "mode"
    return "attributes"


def _only_one(reader: TreeReader, path: bytes, node: FileNode, change: Change) -> list[Difference]:
    """Return the differences of a path on one side only; a folder's files and empty folders."""
    if not node.is_directory:
        return [_one_sided(path, node, change)]
    inside = walk(reader, node.pair, path=path + b"/")
    leaves = [
        _one_sided(below, inner, change)
        for below, inner in inside
        if not inner.is_directory or _is_empty(reader, inner)
    ]
    return leaves or [_one_sided(path, node, change)]


def _is_empty(reader: TreeReader, node: FileNode) -> bool:
    return read_listing(reader, node.pair).keys() == {b"."}


def _both_attributes(old: FileNode, new: FileNode) -> str:
    return f"{_attributes(old)} -> {_attributes(new)}"


def _attributes(node: FileNode) -> str:
    return _text(attribute_line(b"", node, mtimes=False).strip()) or "none"


def _one_sided(path: bytes, node: FileNode, change: Change) -> Difference:
    oid = "" if node.is_directory else node.oid.hex()
    if change == "removed":
        return Difference(_text(path), change, node.mode, None, oid, "")
    unusual = _text(attribute_line(b"", node._replace(link=b""), mtimes=False).strip())
    return Difference(_text(path), change, None, node.mode, "", oid, detail=unusual)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def git_diff(store: Store, old: Pair, new: Pair, *, stat_only: bool) -> bytes:
    """Return git's diff of the contents: a patch, or its `--stat`."""
    options = ["--stat" if stat_only else "--patch", "--find-renames", "--color=never"]
    options += ["--no-ext-diff", "--no-textconv", "--submodule=short"]
    return run_git(store.path, ["diff", *options, old.tree.hex(), new.tree.hex()])


def run_tool(command: Sequence[str], old: str, new: str) -> int:
    """Run a tool that compares two folders, such as diffoscope, and return its exit status.

    The tool uses the caller's terminal. Raises ProvError if it is not installed.
    """
    try:
        return subprocess.run([*command, old, new], check=False).returncode
    except FileNotFoundError as error:
        raise ProvError(
            f"{command[0]} is not installed",
            hint=f"install it, for example with `apt install {command[0]}`",
        ) from error
