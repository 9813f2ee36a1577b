"""Read refs from their files without git, which fails at the first invalid line.

Only the check and the repair of a damaged store use this module; all other code uses `refs`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path

from prov.errors import StoreError
from prov.files import status, sync_directory
from prov.store.objects import Oid
from prov.store.ref_update import BAD_NAME, LOCK_IS_DEAD

_HEADER = b"# pack-refs with: sorted \n"
_OID = re.compile(rb"[0-9a-f]{40}")


@dataclass(slots=True)
class RawRefs:
    """All refs of a store, and the damage to the files that hold them."""

    names: dict[str, Oid] = field(default_factory=dict)
    """Sorted by name."""
    packed_wrong: list[str] = field(default_factory=list)
    """The faults of packed-refs, each a predicate: "is not sorted"."""
    broken: dict[str, str] = field(default_factory=dict)
    """The fault of each invalid ref's own file or packed-refs line, by the ref's name."""
    loose: set[str] = field(default_factory=set)
    packed: dict[str, Oid] = field(default_factory=dict)
    """The valid lines of packed-refs; a ref's own file overrides its line."""


def read_refs(git_dir: Path) -> RawRefs:
    """Return every ref below `refs/`, with the faults of damaged files."""
    refs = RawRefs()
    _read_packed(git_dir / "packed-refs", refs)
    names = dict(refs.packed)
    for path in _loose(git_dir):
        name = os.fsdecode(os.path.relpath(path, os.fsencode(git_dir)))
        refs.loose.add(name)
        text = Path(os.fsdecode(path)).read_bytes() if os.path.isfile(path) else b""
        names.pop(name, None)
        if text.startswith(b"ref:"):
            refs.broken[name] = "is a symbolic ref"
        elif not _OID.fullmatch(text.rstrip(b"\n")):
            refs.broken[name] = "its file does not contain an object id"
        else:
            names[name] = bytes.fromhex(text.strip().decode())
    for name in list(names):
        if not is_name(name):
            refs.broken[name] = "has an invalid name"
            del names[name]
    refs.names = dict(sorted(names.items()))
    return refs


def _loose(git_dir: Path) -> Iterator[bytes]:
    for folder, _folders, files in os.walk(os.fsencode(git_dir / "refs")):
        yield from (os.path.join(folder, name) for name in files if not name.endswith(b".lock"))


def _read_packed(path: Path, refs: RawRefs) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        refs.packed_wrong.append(f"cannot be read: {error.strerror}")
        return
    if data and not data.endswith(b"\n"):
        refs.packed_wrong.append("is truncated: the last line is incomplete")
    _read_lines(data.split(b"\n"), refs)


def _read_lines(lines: list[bytes], refs: RawRefs) -> None:
    """Enter the refs of packed-refs and the faults of its lines into `refs`."""
    names: list[bytes] = []
    may_peel = False  # a peeled line is valid only directly after the line of its tag
    for number, line in enumerate(lines, 1):
        kind = line_kind(line)
        if kind is LineKind.REF:
            oid, name = line[:40], line[41:]
            refs.packed[name.decode("utf-8", "surrogateescape")] = bytes.fromhex(oid.decode())
            names.append(name)
            may_peel = True
        elif kind is LineKind.PEELED and may_peel:
            may_peel = False
        elif line and not (kind is LineKind.HEADER and number == 1):
            refs.packed_wrong.append(f"line {number} is invalid: {line[:100]!r}")
            _salvage_name(line, refs)
    claims_order = line_kind(lines[0]) is LineKind.HEADER and b" sorted " in lines[0]
    if claims_order and any(name >= following for name, following in pairwise(names)):
        refs.packed_wrong.append("is not sorted, although its header claims it")


class LineKind(Enum):
    """The kinds of lines in packed-refs (git's refs/packed-backend.c)."""

    HEADER = auto()
    REF = auto()
    """An id, a space and a name."""
    PEELED = auto()
    """The object that an annotated tag points to, after the line of that tag."""
    INVALID = auto()


def line_kind(line: bytes) -> LineKind:
    """Return the kind of a packed-refs line, without regard to the lines around it."""
    if line.startswith(b"# pack-refs with:"):
        return LineKind.HEADER
    if line[:1] == b"^" and _OID.fullmatch(line[1:]):
        return LineKind.PEELED
    if line[40:41] == b" " and _OID.fullmatch(line[:40]) and _is_name(line[41:]):
        return LineKind.REF
    return LineKind.INVALID


def _is_name(name: bytes) -> bool:
    return name.startswith(b"refs/") and not any(byte < 33 or byte == 127 for byte in name)


def _salvage_name(line: bytes, refs: RawRefs) -> None:
    name = line[41:].decode("utf-8", "surrogateescape")
    if line[40:41] == b" " and name.startswith("refs/") and not BAD_NAME.search(name):
        refs.broken[name] = "its line in packed-refs does not contain an object id"


def is_name(name: str) -> bool:
    """Return whether a string is a valid name of a ref below `refs/`, in UTF-8."""
    is_text = not any("\ud800" <= character <= "\udfff" for character in name)
    has_folder = name.startswith("refs/") and name.count("/") >= 2
    return is_text and has_folder and not BAD_NAME.search(name)


def write_packed(git_dir: Path, refs: dict[str, Oid]) -> None:
    """Replace packed-refs under git's lock. Raises StoreError if another process holds the lock."""
    lock = git_dir / "packed-refs.lock"
    if _is_stale(lock, time.time()):
        lock.unlink(missing_ok=True)
    try:
        fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise StoreError(
            f"{lock} is held by another process",
            hint="if no prov or git process uses the store, delete this file",
        ) from error
    rows = sorted((os.fsencode(name), oid) for name, oid in refs.items())
    with os.fdopen(fd, "wb") as stream:
        stream.write(
            _HEADER + b"".join(b"%s %s\n" % (oid.hex().encode(), name) for name, oid in rows)
        )
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(lock, git_dir / "packed-refs")
    sync_directory(git_dir)


def stale_locks(git_dir: Path, *, now: float) -> list[Path]:
    """Return the lock files of refs that are older than `LOCK_IS_DEAD`."""
    # walk, since rglob fails if git removes a folder at the same time
    below = (Path(folder, name) for folder, _, names in os.walk(git_dir / "refs") for name in names)
    locks = [path for path in below if path.suffix == ".lock"]
    locks += [*git_dir.glob("*.lock"), *git_dir.glob("packed-refs.new")]
    return sorted(path for path in locks if path.is_file() and _is_stale(path, now))


def _is_stale(lock: Path, now: float) -> bool:
    state = status(lock)
    return state is not None and now - state.st_mtime > LOCK_IS_DEAD
