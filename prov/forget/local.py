"""Delete forgotten content outside a store's objects: in pools, caches, WORKDIRs and reflogs.

Only files that prov can make again are deleted. Objects and refs are handled by `prov.forget.plan`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from prov.files import remove_tree, replace_file
from prov.query.table_file import TableFile
from prov.records.refs import WorkdirRef, parse_ref
from prov.replay.scratch import SCRATCH_FOLDER
from prov.sbom.contents import FILE as CONTENTS
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.pool import POOLS

_REMEMBERED = ("parsed", "workdirs", "sources")
"""Caches of the ids of files on disk, which would name deleted objects."""
_WHOLE = {"direct": 2, SCRATCH_FOLDER: 2, "remotes": 3}
"""Folder of the cache -> depth of its directories, each checked out or fetched as a unit."""
_CHUNK = 1 << 20
_ID = re.compile(rb"[0-9a-f]{40}")
_NULL = b"0" * 40


def remove_pool_files(store: Store, targets: Collection[Oid]) -> int:
    """Delete the files of some blobs from the pools; return their number."""
    count = 0
    for pool in POOLS:
        for oid in targets:
            text = oid.hex()
            for path in (store.cache / pool).glob(f"{text[:2]}/{text[2:]}*"):
                path.unlink(missing_ok=True)
                count += 1
    return count


def clear_caches(store: Store, text: bytes) -> None:
    """Delete caches that contain a text, caches of files, copies of remotes, and leftovers."""
    store.objects.remove_leftovers()
    TableFile(store).discard()  # deleted rows can remain in it
    for path in (store.path / "objects").glob("**/tmp_*"):
        path.unlink(missing_ok=True)
    for name in _REMEMBERED:
        _remove(store.cache / name)
    for path in [
        *store.cache.glob("remotes/*/*/whole*"),
        *store.cache.glob("remotes/*/*/scratch-*"),
        *store.cache.glob(f"{CONTENTS}*"),
    ]:
        _remove(path)
    for path in list(_holding(store.cache, text, leave_out=POOLS)) if text else []:
        parts = path.relative_to(store.cache).parts
        depth = _WHOLE.get(parts[0], len(parts))
        _remove(store.cache.joinpath(*parts[:depth]))


def clear_logs(store: Store, text: bytes) -> None:
    """Delete the lines of reflogs that name deleted objects or contain a text.

    Files such as ORIG_HEAD are deleted as a whole.
    """
    for path in store.path.glob("*_HEAD"):
        if not _stays(store, path.read_bytes(), text):
            path.unlink()
    for folder, _, names in os.walk(store.path / "logs"):
        for name in names:
            path = Path(folder, name)
            lines = path.read_bytes().splitlines(keepends=True)
            staying = [line for line in lines if _stays(store, line, text)]
            if staying != lines:
                replace_file(path, b"".join(staying))


def _stays(store: Store, line: bytes, text: bytes) -> bool:
    if text and text in line:
        return False
    return all(
        oid == _NULL or store.objects.exists(bytes.fromhex(oid.decode()))
        for oid in _ID.findall(line)
    )


def remove_workdirs(work: Path | None, refs: Iterable[str]) -> list[Path]:
    """Delete and return the WORKDIRs of changing refs.

    Otherwise the next build would record their content again.
    """
    removed: list[Path] = []
    for name in refs:
        ref = parse_ref(name)
        if work is None or not isinstance(ref, WorkdirRef):
            continue
        path = work / ref.arch / ref.recipe / ref.chain
        if path.is_dir():
            remove_tree(path)
            removed.append(path)
    return removed


def files_with(folder: Path, text: bytes) -> list[Path]:
    """Return the files below a folder that contain a text."""
    return sorted(_holding(folder, text)) if text else []


def _holding(folder: Path, text: bytes, leave_out: Collection[str] = ()) -> Iterator[Path]:
    for top, folders, names in os.walk(folder):
        if Path(top) == folder:
            folders[:] = [name for name in folders if name not in leave_out]
        for name in names:
            path = Path(top, name)
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink() and _has(path, text):
                    yield path


def _has(path: Path, text: bytes) -> bool:
    """Return whether a file contains a text, even across chunks."""
    tail = b""
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            if text in tail + chunk:
                return True
            tail = (tail + chunk)[-len(text) :]
    return False


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        remove_tree(path)
