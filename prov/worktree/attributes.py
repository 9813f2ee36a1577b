"""Record file attributes that git trees cannot store.

These are full modes, owners, mtimes, empty directories, hardlinks, devices and xattrs.

A recorded directory is a `Pair` of trees. The first is the content, a usual git tree. The second,
the attributes, has the same directories. Each of its trees can contain a blob `%attributes` with a
line for each entry whose attributes differ from the defaults (no escaped name starts with `%a`, so
the blob's name is unique):

    NAME<TAB>mode=4755 mtime=1700000000.000000000 link=usr/bin/gzip

The name `.` stands for the directory itself. A directory that contains no files exists only in the
attributes, since git cannot store it. Each directory has its own blob, so an unchanged directory
keeps its blob.

There are two forms. A WORKDIR's attributes include mtimes, which make needs. An output's attributes
do not, because they are part of its id; an output directory with only default attributes has none.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable
from typing import NamedTuple, Protocol

from prov.errors import CHECK_STORE, StoreError
from prov.store.objects import (
    EMPTY_TREE,
    ESCAPE,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
    Entry,
    Kind,
    Oid,
    escape_name,
    unescape_name,
)

BLOB_NAME = b"%attributes"
DIRECTORY_MODE = 0o755
FILE_TYPE = 0o170000
"""The bits of a mode that hold the file type (inode(7)): `stat.S_IFMT` without a call."""


class Pair(NamedTuple):
    """A recorded directory: its content and its attributes."""

    tree: Oid
    attributes: Oid | None
    """None if all attributes have their defaults and no directory is empty."""


EMPTY = Pair(EMPTY_TREE, None)
SETUID = stat.S_ISUID | stat.S_ISGID
"""The mode bits with which a program runs as its owner or group."""
ROOT = (0, 0)


class FileNode(NamedTuple):
    """One entry of a recorded directory.

    `mode` is a full st_mode. `oid` is the content of a file or symlink, `pair` the content of a
    directory. `mtime` is in nanoseconds, None if it is not recorded. Nodes of one hardlink group
    share `link`, the path of its first member. `rdev` is (major, minor) of a device. `fixme` marks
    a file whose content has tokens for paths, or contains a build path; see
    `prov.worktree.path_tokens`. `owner` is (uid, gid), which is root unless the entry was captured
    under fakeroot.
    """

    mode: int
    oid: Oid = b""
    pair: Pair = EMPTY
    mtime: int | None = None
    link: bytes = b""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    rdev: tuple[int, int] | None = None
    fixme: bytes = b""
    owner: tuple[int, int] = ROOT

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_device(self) -> bool:
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)

    @property
    def same_content(self) -> tuple[object, ...]:
        """All fields except the mtime."""
        return (
            self.mode,
            self.oid,
            self.pair,
            self.link,
            self.xattrs,
            self.rdev,
            self.fixme,
            self.owner,
        )

    @property
    def same_file(self) -> tuple[object, ...]:
        """All fields except the mtime and the hardlink group."""
        return self.mode, self.oid, self.pair, self.xattrs, self.rdev, self.fixme, self.owner


_FOLDER = FileNode(stat.S_IFDIR | DIRECTORY_MODE)
_FULL_MODES = {MODE_EXECUTABLE: stat.S_IFREG | 0o755, MODE_SYMLINK: stat.S_IFLNK | 0o777}

Listing = dict[bytes, FileNode]
"""A directory's entries by their real names; `.` has the directory's own mode, mtime and xattrs."""

_TYPES = {
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}


class TreeReader(Protocol):
    """The part of a store that reads recorded directories."""

    def tree(self, oid: Oid) -> list[Entry]: ...

    def blob(self, oid: Oid) -> bytes: ...


def git_mode(mode: int) -> int:
    """Return the git tree mode of a file or symlink."""
    if stat.S_ISLNK(mode):
        return MODE_SYMLINK
    return MODE_EXECUTABLE if mode & 0o100 else MODE_FILE


def _ordinary(mode: int) -> bool:
    if stat.S_ISLNK(mode):
        return True
    permissions = stat.S_IMODE(mode)
    if stat.S_ISDIR(mode):
        return permissions == DIRECTORY_MODE
    return stat.S_ISREG(mode) and permissions == (0o755 if mode & 0o100 else 0o644)


def _escape(name: bytes) -> bytes:
    return (
        name.replace(b"\\", b"\\\\")
        .replace(b"\t", b"\\t")
        .replace(b"\n", b"\\n")
        .replace(b" ", b"\\s")
    )


def _unescape(name: bytes) -> bytes:
    if b"\\" not in name:
        return name
    plain = {b"\\\\": b"\\", b"\\t": b"\t", b"\\n": b"\n", b"\\s": b" "}
    out, at = bytearray(), 0
    while at < len(name):
        pair = name[at : at + 2]
        out += plain.get(pair, name[at : at + 1])
        at += 2 if pair in plain else 1
    return bytes(out)


def attribute_line(name: bytes, node: FileNode, *, mtimes: bool) -> bytes:
    """Return the line for one entry, or nothing if all its attributes have their defaults."""
    fields = []
    kind = stat.S_IFMT(node.mode)
    if kind in _TYPE_NAMES:
        fields.append(b"type=" + _TYPE_NAMES[kind].encode())
        if node.rdev is not None:
            fields.append(b"rdev=%d:%d" % node.rdev)
    if not _ordinary(node.mode):
        fields.append(b"mode=%04o" % stat.S_IMODE(node.mode))
    if node.owner != ROOT:
        fields.append(b"owner=%d:%d" % node.owner)
    if mtimes and node.mtime is not None:
        fields.append(b"mtime=%d.%09d" % divmod(node.mtime, 1_000_000_000))
    if node.link:
        fields.append(b"link=" + _escape(node.link))
    if node.fixme:
        fields.append(b"fixme=" + node.fixme)
    fields += [
        b"xattr.%s=%s" % (_escape(key), base64.b64encode(value)) for key, value in node.xattrs
    ]
    return b"%s\t%s\n" % (_escape(name), b" ".join(fields)) if fields else b""


_ONLY_MTIME = re.compile(rb"mtime=([0-9]+)\.([0-9]{9})")


def _decode_fields(text: bytes) -> dict[bytes, bytes]:
    fields = {}
    for field in text.split(b" "):
        key, _, value = field.partition(b"=")
        fields[key] = value
    return fields


_FIXME = re.compile(rb"((text|binary)(:[HNSW]*)?|held(:[HNSW]*)?)?")


def _with_fields(node: FileNode | None, fields: dict[bytes, bytes]) -> FileNode:
    """Return an entry with its attributes.

    Raises ValueError or KeyError for invalid attributes.
    """
    if node is None:
        if b"type" not in fields:
            raise ValueError("no such file")
        node = FileNode(stat.S_IFREG | 0o644)
    if not _FIXME.fullmatch(fields.get(b"fixme", b"")):
        raise ValueError("unknown fixme mark")
    mode, mtime, rdev, owner = node.mode, None, None, ROOT
    if b"type" in fields:
        mode = _TYPES[fields[b"type"].decode()] | stat.S_IMODE(mode)
    if b"mode" in fields:
        mode = stat.S_IFMT(mode) | (int(fields[b"mode"], 8) & 0o7777)
    if b"mtime" in fields:
        seconds, _, nanoseconds = fields[b"mtime"].partition(b".")
        mtime = int(seconds) * 1_000_000_000 + int(nanoseconds)
    if b"rdev" in fields:
        major, _, minor = fields[b"rdev"].partition(b":")
        rdev = (int(major), int(minor))
    if b"owner" in fields:
        uid, _, gid = fields[b"owner"].partition(b":")
        owner = (int(uid), int(gid))
    xattrs = tuple(
        (_unescape(key[6:]), base64.b64decode(value))
        for key, value in fields.items()
        if key.startswith(b"xattr.")
    )
    link, fixme = _unescape(fields.get(b"link", b"")), fields.get(b"fixme", b"")
    return FileNode(mode, node.oid, node.pair, mtime, link, xattrs, rdev, fixme, owner)


def read_listing(reader: TreeReader, pair: Pair) -> Listing:
    """Return the entries of a recorded directory, with its own attributes under `.`."""
    listing: Listing = {b".": _FOLDER}
    attributes = reader.tree(pair.attributes) if pair.attributes else []
    below = {entry.name: entry.oid for entry in attributes}
    lines = below.pop(BLOB_NAME, None)
    # for speed, without the constructor: a sysroot has tens of thousands of nodes
    new, rest = tuple.__new__, _FOLDER[3:]
    for name, mode, oid in reader.tree(pair.tree):
        real = unescape_name(name) if name[:1] == ESCAPE else name
        if mode == MODE_DIRECTORY:
            listing[real] = FileNode(
                stat.S_IFDIR | DIRECTORY_MODE, pair=Pair(oid, below.pop(name, None))
            )
        else:
            listing[real] = new(
                FileNode, (_FULL_MODES.get(mode, stat.S_IFREG | 0o644), oid, EMPTY, *rest)
            )
    # `.` is reserved for the directory itself; checkout checks all other names
    if listing[b"."] is not _FOLDER:
        raise StoreError("invalid name '.' in a tree", hint=CHECK_STORE)
    for name, oid in below.items():
        listing[unescape_name(name)] = FileNode(
            stat.S_IFDIR | DIRECTORY_MODE, pair=Pair(EMPTY_TREE, oid)
        )
    if lines is not None:
        # not splitlines: a name can contain a carriage return
        for line in reader.blob(lines).split(b"\n")[:-1]:
            escaped, _, text = line.partition(b"\t")
            name = _unescape(escaped)
            node = listing.get(name)
            # fast path: each entry of a WORKDIR has an mtime, and most have nothing else
            dated = _ONLY_MTIME.fullmatch(text)
            if dated is not None and node is not None:
                mtime = int(dated[1]) * 1_000_000_000 + int(dated[2])
                listing[name] = new(FileNode, (*node[:3], mtime, *node[4:]))
                continue
            try:
                listing[name] = _with_fields(node, _decode_fields(text))
            except (ValueError, KeyError) as error:
                raise StoreError(
                    f"invalid attributes of {os.fsdecode(name)!r}: {error}", hint=CHECK_STORE
                ) from error
    return listing


class TreeWriter(Protocol):
    """The part of a store that writes recorded directories."""

    def add(self, kind: Kind, data: bytes) -> Oid: ...

    def add_tree(self, entries: list[Entry]) -> Oid: ...


class TreeReaderWriter(TreeReader, TreeWriter, Protocol):
    """The part of a store that reads and writes recorded directories."""


def write_listing(writer: TreeWriter, listing: Listing, *, mtimes: bool) -> Pair:
    """Write a directory's two trees; its subdirectories must be written already."""
    content: list[Entry] = []
    attributes: list[Entry] = []
    lines = []
    # the directory's own line first, as in a capture
    for name in sorted(listing, key=lambda name: (name != b".", name)):
        node = listing[name]
        lines.append(
            attribute_line(name, node, mtimes=mtimes)
            if name == b"." or not node.is_directory
            else b""
        )
        if name == b".":
            continue
        if node.is_directory:
            add_directory(content, attributes, escape_name(name), node.pair)
        elif stat.S_ISREG(node.mode) or stat.S_ISLNK(node.mode):
            content.append(Entry(escape_name(name), git_mode(node.mode), node.oid))
    text = b"".join(lines)
    if text:
        attributes.append(Entry(BLOB_NAME, MODE_FILE, writer.add("blob", text)))
    return Pair(writer.add_tree(content), writer.add_tree(attributes) if attributes else None)


def add_directory(content: list[Entry], attributes: list[Entry], name: bytes, pair: Pair) -> None:
    """Add a directory to its parent's two trees; only a non-empty one can be in the content."""
    if pair.tree != EMPTY_TREE:
        content.append(Entry(name, MODE_DIRECTORY, pair.tree))
    if pair.attributes is not None:
        attributes.append(Entry(name, MODE_DIRECTORY, pair.attributes))
    elif pair.tree == EMPTY_TREE:
        attributes.append(Entry(name, MODE_DIRECTORY, EMPTY_TREE))


def walk(reader: TreeReader, pair: Pair, *, path: bytes = b"") -> list[tuple[bytes, FileNode]]:
    """Return the (path, node) of all entries in a recorded directory, parents first."""
    nodes: list[tuple[bytes, FileNode]] = []
    pending = _sorted_entries(reader, pair, path)
    while pending:
        at, node = pending.pop()
        nodes.append((at, node))
        if node.is_directory:
            pending += _sorted_entries(reader, node.pair, at + b"/")
    return nodes


def _sorted_entries(reader: TreeReader, pair: Pair, prefix: bytes) -> list[tuple[bytes, FileNode]]:
    """Return the direct entries of a recorded directory, sorted by name in reverse."""
    listing = read_listing(reader, pair)
    return [
        (prefix + name, listing[name]) for name in sorted(listing, reverse=True) if name != b"."
    ]


def at_path(reader: TreeReader, pair: Pair, path: bytes) -> FileNode | None:
    """Return the entry of a recorded directory at a path (`usr/lib`), or None.

    The empty path stands for the directory itself.
    """
    node = FileNode(stat.S_IFDIR | DIRECTORY_MODE, pair=pair)
    for part in [part for part in path.split(b"/") if part]:
        if not node.is_directory:
            return None
        entry = read_listing(reader, node.pair).get(part)
        if entry is None or part == b".":
            return None
        node = entry
    return node


def nest(writer: TreeWriter, contents: dict[bytes, Pair]) -> Pair:
    """Return a directory that contains each pair at its path (`image`, `pkgdata/zlib`).

    No path may be inside another one.
    """
    listing: Listing = {}
    deeper: dict[bytes, dict[bytes, Pair]] = {}
    for path, pair in contents.items():
        first, _, rest = path.partition(b"/")
        if rest:
            deeper.setdefault(first, {})[rest] = pair
        else:
            listing[first] = FileNode(stat.S_IFDIR | DIRECTORY_MODE, pair=pair)
    for first, inside in deeper.items():
        listing[first] = FileNode(stat.S_IFDIR | DIRECTORY_MODE, pair=nest(writer, inside))
    return write_listing(writer, listing, mtimes=False)


def put_at(writer: TreeReaderWriter, pair: Pair, path: bytes, node: FileNode | None) -> Pair:
    """Return a recorded directory with an entry replaced, or removed if `node` is None.

    Missing parent directories are created.
    """
    first, _, rest = path.partition(b"/")
    listing = read_listing(writer, pair)
    if rest:
        folder = listing.get(first)
        inside = folder.pair if folder is not None and folder.is_directory else EMPTY
        changed = put_at(writer, inside, rest, node)
        if changed != inside:
            listing[first] = FileNode(stat.S_IFDIR | DIRECTORY_MODE, pair=changed)
    elif node is None:
        listing.pop(first, None)
    else:
        listing[first] = node
    return write_listing(writer, listing, mtimes=True)


def map_directories(
    reader: TreeReader,
    pair: Pair,
    change: Callable[[Listing], Listing],
    writer: TreeWriter,
    *,
    mtimes: bool = False,
) -> Pair:
    """Rewrite a recorded directory: apply `change` to each listing, from the leaves up."""
    listing = read_listing(reader, pair)
    for name, node in listing.items():
        if name != b"." and node.is_directory:
            inside = map_directories(reader, node.pair, change, writer, mtimes=mtimes)
            listing[name] = node._replace(pair=inside)
    return write_listing(writer, change(listing), mtimes=mtimes)


def without_setuid(reader: TreeReader, pair: Pair, writer: TreeWriter) -> Pair:
    """Return a recorded directory without setuid and setgid bits on files."""
    if pair.attributes is None:  # these bits are recorded in the attributes
        return pair
    listing = read_listing(reader, pair)
    for name, node in listing.items():
        if stat.S_ISREG(node.mode):
            listing[name] = node._replace(mode=node.mode & ~SETUID)
        elif node.is_directory and name != b".":
            listing[name] = node._replace(pair=without_setuid(reader, node.pair, writer))
    return write_listing(writer, listing, mtimes=True)
