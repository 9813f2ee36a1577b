"""Verify that a store's objects match their ids, and salvage objects from damaged packs.

An object's id is the hash of its content, so salvaging needs no index: anything that inflates
identifies itself. Packs written by prov itself contain no deltas; their objects follow one another.
After a damaged part, the next object is found by the first bytes of a zlib stream.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from isal import isal_zlib

from prov.errors import StoreError
from prov.store.deltas import Delta, resolve
from prov.store.git import call_git, error_text, git_command, git_program, start_git
from prov.store.objects import Kind, Oid, object_id
from prov.store.packs import INFLATE_ERROR, STREAM_CHUNK, PackFile, PackStream

_KINDS: dict[int, Kind] = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_OFS_DELTA, _REF_DELTA = 6, 7
_HEADER, _TRAILER = 12, 20
_MOST_OF_A_HEADER = 10
# the header of a zlib stream with a 32 kB window; a valid header is a multiple of 31
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_MALFORMED = re.compile(r"^error in (?:blob|tree|commit|tag) ([0-9a-f]{40}): (.*)$", re.MULTILINE)


@dataclass(slots=True)
class GitFsck:
    """A running `git fsck --strict` on a store."""

    process: subprocess.Popen[bytes]
    _view: contextlib.ExitStack

    @staticmethod
    def start(git_dir: Path) -> GitFsck:
        options = ["fsck", "--strict", "--full", "--no-dangling", "--no-progress"]
        with contextlib.ExitStack() as stack:
            command = [*stack.enter_context(git_command(git_dir)), *options]
            process = start_git(command, stderr=subprocess.STDOUT)
            return GitFsck(process, stack.pop_all())

    def answer(self) -> list[str]:
        """Wait for git to exit; return the errors it printed, one per item."""
        text = self.process.communicate()[0].decode("utf-8", "replace")
        self._view.close()
        lines = [line for line in text.splitlines() if line and not line.startswith("notice: ")]
        if not lines and self.process.returncode:
            return [f"git fsck failed with exit status {self.process.returncode}"]
        return lines

    def stop(self) -> None:
        """Kill git if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self._view.close()


def malformed(lines: list[str]) -> dict[Oid, str]:
    """Return the objects that git fsck reports as malformed, with its message for each."""
    return {bytes.fromhex(oid): words for oid, words in _MALFORMED.findall("\n".join(lines))}


@dataclass(frozen=True, slots=True)
class PackState:
    """The result of checking one pack."""

    name: str
    """Without a suffix: pack-…"""
    wrong: str = ""
    """The damage; empty for a sound pack."""


def check_packs(folder: Path, bad: frozenset[Oid]) -> list[PackState]:
    """Check the content and index of every pack; a pack with a `bad` object is damaged too."""
    names = sorted(
        {path.stem for path in folder.glob("pack-*") if path.suffix in (".pack", ".idx")}
    )
    return [_check_pack(folder / name, bad) for name in names]


def _check_pack(path: Path, bad: frozenset[Oid]) -> PackState:
    if not path.with_suffix(".pack").exists():
        if path.with_suffix(".idx").exists():
            return PackState(path.name, "its pack is missing, only the index exists")
        return PackState(path.name)  # another process has joined it with other packs
    if not path.with_suffix(".idx").exists():
        return PackState(path.name, "its index is missing")
    index = str(path.with_suffix(".idx"))
    result = call_git([git_program(), f"--git-dir={os.devnull}", "verify-pack", index])
    if result.returncode or result.stderr:
        words = error_text(result).splitlines()
        return PackState(path.name, words[0] if words else "git verify-pack reports damage")
    try:
        pack = PackFile(path.with_suffix(".idx"))
    except (StoreError, OSError, ValueError) as error:
        return PackState(path.name, str(error))
    count = sum(pack.find(oid) >= 0 for oid in bad)
    pack.close()
    return PackState(path.name, f"{count} of its objects are malformed" if count else "")


def listed(index: Path) -> set[Oid]:
    """Return the ids listed in an index, as far as it can be read."""
    try:
        data = index.read_bytes()
    except OSError:
        return set()
    count = int.from_bytes(data[1028:1032])
    end = min(1032 + 20 * count, len(data))
    return {data[at : at + 20] for at in range(1032, end - 19, 20)}


class SalvagedObject(NamedTuple):
    """An object in a damaged pack."""

    oid: Oid
    kind: Kind
    packed: Callable[[], Iterator[bytes]] | None
    """Its packed form in chunks; None if it was a delta, whose resolved form is in `content`."""
    content: bytes = b""


def salvage(pack: Path, into: PackStream, *, leave_out: frozenset[Oid] = frozenset()) -> int:
    """Copy all readable objects of a damaged pack; return the number of copied objects."""
    count = 0
    for candidate in _readable(pack):
        if candidate.oid in into or candidate.oid in leave_out:
            continue
        if candidate.packed is None:
            into.add(candidate.oid, candidate.kind, candidate.content)
        else:
            crc = 0
            for chunk in candidate.packed():
                crc = isal_zlib.crc32(chunk, crc)
            into.add_packed(candidate.oid, crc, candidate.packed())
        count += 1
    return count


def _readable(pack: Path) -> Iterator[SalvagedObject]:
    """Yield every readable object of a pack, even if the pack is truncated or partly corrupt."""
    with open(pack, "rb") as file:
        if os.fstat(file.fileno()).st_size <= _HEADER:
            return
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    with data:
        deltas: list[Delta] = []
        places: dict[int, tuple[Oid, Kind]] = {}
        for entry in _entries(data):
            if isinstance(entry, Delta):
                deltas.append(entry)
                continue
            places[entry.start] = entry.oid, entry.kind
            start, end = entry.start, entry.end
            yield SalvagedObject(entry.oid, entry.kind, partial(_chunks, data, start, end))
        if deltas:
            yield from (
                SalvagedObject(object_id(kind, content), kind, None, content)
                for kind, content in resolve(deltas, places, lambda at: _content_at(data, at))
            )


def _chunks(data: mmap.mmap, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, STREAM_CHUNK):
        yield data[at : min(at + STREAM_CHUNK, end)]


class _Entry(NamedTuple):
    start: int
    end: int
    oid: Oid
    kind: Kind


def _entries(data: mmap.mmap) -> Iterator[_Entry | Delta]:
    """Yield the entries in order; after an unreadable entry, search for the next readable one."""
    at = _HEADER
    while at < len(data):
        entry = _entry_at(data, at)
        if entry is None:
            if len(data) - at <= _TRAILER:
                return
            entry = next((candidate for candidate in _later_entries(data, at + 1)), None)
            if entry is None:
                return
        yield entry
        at = entry.end


def _later_entries(data: mmap.mmap, after: int) -> Iterator[_Entry | Delta]:
    for match in _ZLIB.finditer(data, after):
        # only the last byte of an entry header has its high bit unset
        start = match.start() - 1
        while start >= after and start >= match.start() - _MOST_OF_A_HEADER:
            entry = _entry_at(data, start)
            if entry is not None and not isinstance(entry, Delta):
                yield entry
            if start - 1 < after or not data[start - 1] & 128:
                break
            start -= 1


def _entry_at(data: mmap.mmap, at: int) -> _Entry | Delta | None:
    header = _header_at(data, at)
    if header is None:
        return None
    number, size, begins = header
    if number in (_OFS_DELTA, _REF_DELTA):
        return _delta_at(data, at, number, size, begins)
    kind = _KINDS.get(number)
    if kind is None:
        return None
    digest = hashlib.sha1(b"%s %d\0" % (kind.encode(), size))
    end = _inflate(data, begins, size, digest.update)
    return None if end is None else _Entry(at, end, digest.digest(), kind)


def _header_at(data: mmap.mmap, at: int) -> tuple[int, int, int] | None:
    """Return the kind number, the content's size, and the offset of the compressed bytes."""
    if at >= len(data):
        return None
    byte = data[at]
    number, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 128:
        at += 1
        if at >= len(data) or shift > 60:
            return None
        byte = data[at]
        size |= (byte & 127) << shift
        shift += 7
    return number, size, at + 1


def _inflate(data: mmap.mmap, at: int, size: int, take: Callable[[bytes], object]) -> int | None:
    """Inflate at an offset and pass the content to `take`; return the end offset.

    Returns None if the content is not exactly `size` bytes or cannot be inflated.
    """
    inflater, remaining = isal_zlib.decompressobj(), size
    while not inflater.eof:
        chunk = data[at : at + min(STREAM_CHUNK, remaining + (remaining >> 10) + 64)]
        if not chunk:
            return None
        try:
            # limited: a chunk can inflate to a thousand times its size
            content = inflater.decompress(chunk, STREAM_CHUNK)
        except INFLATE_ERROR:
            return None
        at, remaining = at + len(chunk) - len(inflater.unconsumed_tail), remaining - len(content)
        if remaining < 0:
            return None
        take(content)
    return at - len(inflater.unused_data) if not remaining else None


def _delta_at(data: mmap.mmap, at: int, number: int, size: int, begins: int) -> Delta | None:
    base: int | Oid
    if number == _REF_DELTA:
        base, begins = data[begins : begins + 20], begins + 20
    else:
        if begins >= len(data):
            return None
        byte = data[begins]
        back = byte & 127
        while byte & 128:
            begins += 1
            if begins >= len(data):
                return None
            byte = data[begins]
            back = (back + 1) << 7 | byte & 127
        base, begins = at - back, begins + 1
    pieces: list[bytes] = []
    end = _inflate(data, begins, size, pieces.append)
    return None if end is None else Delta(at, end, base, b"".join(pieces))


def _content_at(data: mmap.mmap, at: int) -> bytes:
    header = _header_at(data, at)
    assert header is not None  # _entry_at has read it before
    pieces: list[bytes] = []
    _inflate(data, header[2], header[1], pieces.append)
    return b"".join(pieces)


def loose_objects(git_dir: Path) -> Iterator[tuple[Path, Oid, str]]:
    """Yield the file and id of each loose object, and its damage (empty for a sound object)."""
    for path in sorted((git_dir / "objects").glob("[0-9a-f][0-9a-f]/*")):
        name = path.parent.name + path.name
        if re.fullmatch("[0-9a-f]{40}", name):
            oid = bytes.fromhex(name)
            try:
                content = isal_zlib.decompress(path.read_bytes())
                wrong = (
                    ""
                    if hashlib.sha1(content).digest() == oid
                    else "its content does not match its id"
                )
            except (INFLATE_ERROR, OSError) as error:
                wrong = f"cannot read it: {error}"
            yield path, oid, wrong
