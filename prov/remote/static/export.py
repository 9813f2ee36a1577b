"""Write a static cache: plain files for a web server without git. `remote` describes the layout.

Each export writes new results to one bundle and one publication. Readers never see a partial
export: the manifest is replaced last, atomically, and the files that it lists never change.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from prov.files import create_file, locked, make_folder, naming, replace_file, sync_directory
from prov.progress import counted
from prov.records.ids import OutputId, TaskHash
from prov.records.refs import REMOTE_CONTENT
from prov.remote.publication import Publication, Published, decode_publication, record_commit
from prov.remote.signature import sign
from prov.remote.static.manifest import MANIFEST, Bundle, Manifest, decode_manifest
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, MODE_DIRECTORY, Commit, Oid, object_id
from prov.store.odb import ObjectDatabase
from prov.store.packs import PackStream
from prov.transport.errors import RemoteError
from prov.transport.pack_ranges import PackIndex

_SCRATCH = ".bundle-"
_OTHER_FOLDER = "export to another folder"


def exported(folder: Path) -> set[tuple[TaskHash, OutputId]]:
    """Return the results in a folder: pairs of task hash and output."""
    results = set()
    for number in read_manifest(folder).publications:
        text = (folder / f"publications/{number:08d}").read_bytes()
        results |= {(task.task_hash, task.output) for task in decode_publication(text).tasks}
    return results


def export(objects: ObjectDatabase, folder: Path, tasks: Sequence[Published], *, key: str) -> int:
    """Write results that a folder lacks; return the number of bytes written. Raises RemoteError."""
    for name in ("publications", "bundles"):
        make_folder(folder / name)
    with locked(folder / ".lock"):
        for scratch in folder.glob(f"{_SCRATCH}*"):  # of a killed export
            shutil.rmtree(scratch, ignore_errors=True)
        manifest = read_manifest(folder)
        earlier = exported(folder)
        new = [task for task in tasks if (task.task_hash, task.output) not in earlier]
        if not new:
            return 0
        number = max(manifest.publications, default=0) + 1
        text = Publication(int(time.time()), tuple(new)).encode()
        signature = sign(text, key) if key else b""
        bundle = _write_bundle(objects, folder, number, new, manifest.bundles)
        path = folder / f"publications/{number:08d}"
        replace_file(path, text)
        if signature:
            replace_file(path.with_name(f"{path.name}.sig"), signature)
        publications = {**manifest.publications, number: bool(key)}
        replace_file(
            folder / MANIFEST, Manifest(publications, (*manifest.bundles, bundle)).encode()
        )
        return bundle.size + len(text)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a cache. Raises RemoteError for a folder with other files."""
    try:
        return decode_manifest((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        if any(path.name not in ("publications", "bundles") for path in folder.glob("[!.]*")):
            raise RemoteError(
                f"{folder} is not a static cache: it has other files", hint=_OTHER_FOLDER
            ) from None
        return Manifest({}, ())
    except (ValueError, UnicodeDecodeError) as error:
        raise RemoteError(
            f"invalid manifest {folder / MANIFEST}: {error}", hint=_OTHER_FOLDER
        ) from error


def _write_bundle(
    objects: ObjectDatabase,
    folder: Path,
    number: int,
    tasks: Sequence[Published],
    before: Sequence[Bundle],
) -> Bundle:
    """Write a bundle and its index with the objects that no earlier bundle has."""
    indexes = [PackIndex(folder / f"{bundle.name}.idx") for bundle in before]
    last = _content_tip(folder, before)
    commits = [record_commit(task.record) for task in tasks]
    parents = (*([last] if last else []), *(task.commit for task in tasks))
    content = Commit(EMPTY_TREE, parents, CONSTANT_IDENTITY, "content\n")
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
        stream = PackStream(Path(scratch))
        try:
            for task in counted(tasks, "writing results"):
                _add_tree(objects, stream, task.record, indexes)
            for commit in (*commits, content):
                _add(stream, commit, indexes)
            if not any(EMPTY_TREE in index for index in indexes) and EMPTY_TREE not in stream:
                stream.add(EMPTY_TREE, "tree", b"")
            index = stream.finish()
        except BaseException:
            stream.abort()
            raise
        assert index is not None
        header = _bundle_header(object_id("commit", content.encode()), last)
        pack = index.with_suffix(".pack")
        bundle = Bundle(number, len(header) + pack.stat().st_size, len(header))
        _join(folder / f"{bundle.name}.bundle", header, pack)
        replace_file(folder / f"{bundle.name}.idx", index.read_bytes())
    return bundle


def _bundle_header(tip: Oid, before: Oid | None) -> bytes:
    """Return the header of a bundle; `before` is the tip of the previous bundle, a prerequisite."""
    lines = ["# v2 git bundle"]
    if before is not None:
        lines.append(f"-{before.hex()} content")
    lines.append(f"{tip.hex()} {REMOTE_CONTENT}")
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()


def _add(stream: PackStream, commit: Commit, indexes: Iterable[PackIndex]) -> None:
    oid = object_id("commit", commit.encode())
    if oid not in stream and not any(oid in index for index in indexes):
        stream.add(oid, "commit", commit.encode())


def _add_tree(
    objects: ObjectDatabase, stream: PackStream, top: Oid, indexes: Sequence[PackIndex]
) -> None:
    """Add a tree and everything below it, folder by folder, so that a folder takes few ranges."""
    pending = [top]
    while pending:
        oid = pending.pop()
        if oid in stream or any(oid in index for index in indexes):
            continue
        kind, content = objects.read(oid)
        stream.add(oid, kind, content)
        if kind == "tree":
            entries = objects.tree(oid)
            entries.reverse()  # pop() returns the last entry
            pending += [entry.oid for entry in entries if entry.mode == MODE_DIRECTORY]
            pending += [entry.oid for entry in entries if entry.mode != MODE_DIRECTORY]


def _content_tip(folder: Path, before: Sequence[Bundle]) -> Oid | None:
    if not before:
        return None
    with open(folder / f"{before[-1].name}.bundle", "rb") as stream:
        lines = stream.read(before[-1].header).decode().splitlines()
    return next(
        bytes.fromhex(line.partition(" ")[0]) for line in lines if line.endswith(REMOTE_CONTENT)
    )


def _join(path: Path, header: bytes, pack: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    with naming(path), os.fdopen(create_file(part), "wb") as target, open(pack, "rb") as source:
        target.write(header)
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    part.rename(path)
    sync_directory(path.parent)
