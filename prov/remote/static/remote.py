"""Read a static cache: plain files that `export` writes and any web server can serve.

    prov-cache             the manifest: a line per publication and per bundle; written last
    publications/00000001  as in a git remote, with a signature in 00000001.sig if it is signed
    bundles/00000001.bundle, 00000001.idx
                           the objects of that publication which no earlier bundle has: a git
                           bundle without deltas, and git's index of the pack in it

An object is a range of a bundle, so a client fetches only the objects that it lacks. If a server
does not support ranges, prov fetches whole bundles. Fetched data is stored in a file and read
object by object. The files may be forged and may change between two requests, so an object is used
only if it matches its id.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from prov.errors import StoreError
from prov.files import replace_file
from prov.intake.source import Content, Source, read_whole
from prov.intake.wellformed import BadObject
from prov.remote.index import Index
from prov.remote.reading import (
    SIGNATURE,
    PublishedText,
    check_index_size,
    enter,
    memory_folder,
    policy_of,
    refresh_index,
)
from prov.remote.settings import Remote
from prov.remote.static.manifest import HEADER, MANIFEST, Bundle, Manifest, decode_manifest
from prov.store.objects import MODE_DIRECTORY, Entry, Oid, decode_tree
from prov.store.repository import Store
from prov.transport.access import Access, resolved_url
from prov.transport.errors import Unreachable, Untrusted
from prov.transport.pace import check_room
from prov.transport.pack_ranges import PackIndex, open_entry
from prov.transport.web import Denied, Missing, Web

GAP = 1 << 16
"""Maximum gap between two objects in one request, in bytes."""
AT_ONCE = 100_000
"""Number of missing objects after which they are fetched."""


def is_static(remote: Remote, access: Access) -> bool:
    """Return whether a URL is that of a static cache. Raises Unreachable if it does not answer."""
    web = Web(remote.name, resolved_url(remote.url, access), access)
    try:
        return web.get(MANIFEST, most=remote.list_limit).startswith(HEADER.encode())
    except (Missing, Denied):
        return False


@dataclass(slots=True)
class StaticRemote:
    """A static cache, read-only."""

    remote: Remote
    store: Store
    access: Access
    folder: Path = field(init=False)
    index: Index = field(init=False)
    web: Web = field(init=False)

    def __post_init__(self) -> None:
        self.folder = memory_folder(self.store, self.remote)
        (self.folder / "bundles").mkdir(parents=True, exist_ok=True)
        self.index = Index(self.folder / "index")
        self.web = Web(self.remote.name, resolved_url(self.remote.url, self.access), self.access)

    @property
    def name(self) -> str:
        return self.remote.name

    def refresh(self, *, whole: bool = True) -> list[Untrusted]:
        """Update the index; return why new publications are rejected. Raises Unreachable."""
        return refresh_index(self.folder, self.index, self._refresh)

    def look_up(self, ids: Iterable[Oid]) -> list[Untrusted]:
        """Do nothing: `refresh` reads the whole index."""
        return []

    def _refresh(self) -> list[Untrusted]:
        manifest = self._manifest()
        entered = {listed.number for listed in self.index.publications()}
        total = self.index.number("size")
        policy = policy_of(self.remote)
        again = self.index.get("policy") != policy or not entered <= manifest.publications.keys()
        if again:
            entered, total = set(), 0
        with self.index.changing(clear=again):
            problems = []
            # one at a time: all publications may not fit in memory
            for number in sorted(manifest.publications.keys() - entered):
                text = self._publication(number, signed=manifest.publications[number])
                total += len(text.text)
                check_index_size(self.remote, total)
                problems.append(enter(self.index, self.remote, number, text))
            self.index.put("policy", policy)
            self.index.put("size", str(total))
        return [problem for problem in problems if problem]

    def _manifest(self) -> Manifest:
        try:
            return decode_manifest(self.web.get(MANIFEST, most=self.remote.list_limit))
        except Missing as error:
            raise Unreachable(self.name, f"no {MANIFEST} at its URL") from error
        except (ValueError, UnicodeDecodeError) as error:
            raise Unreachable(self.name, f"invalid manifest {MANIFEST}: {error}") from error

    def _publication(self, number: int, *, signed: bool) -> PublishedText:
        name = f"publications/{number:08d}"
        try:
            text = self.web.get(name, most=self.remote.list_limit)
            signature = self.web.get(f"{name}.sig", most=SIGNATURE) if signed else None
            return PublishedText(text, signature)
        except Missing as error:
            raise self.missing_file(name) from error

    @contextmanager
    def objects(
        self, commits: Sequence[Oid], have: Sequence[Oid], *, without_store: bool = False
    ) -> Iterator[Source]:
        """Yield a source of objects; all objects of a task are fetched in few requests.

        `without_store` fetches all objects, for a store that may lack some. Raises Unreachable.
        """
        is_stored = (lambda _oid: False) if without_store else self.store.objects.exists
        with tempfile.TemporaryFile(dir=self.folder) as file:
            yield _Reader(
                self, self._manifest().bundles, is_stored, file, without_store=without_store
            ).read

    def pack_index(self, bundle: Bundle) -> PackIndex:
        """Return a bundle's index, from the local cache unless it is missing or damaged there."""
        path = self._index_path(bundle)
        if path.exists():
            with contextlib.suppress(StoreError):
                return PackIndex(path)
        self.forget_index(bundle)
        try:
            data = self.web.get(f"{bundle.name}.idx", most=self.remote.list_limit)
        except Missing as error:
            raise self.missing_file(f"{bundle.name}.idx") from error
        check_room(self.name, self.folder, len(data))
        replace_file(path, data, durable=False)
        try:
            return PackIndex(path)
        except StoreError as error:
            self.forget_index(bundle)
            raise Unreachable(self.name, f"{bundle.name}.idx is damaged") from error

    def forget_index(self, bundle: Bundle) -> None:
        """Delete a bundle's index from the local cache."""
        self._index_path(bundle).unlink(missing_ok=True)

    def missing_file(self, name: str) -> Unreachable:
        """Return the error for a file that the manifest lists and the server does not have."""
        return Unreachable(self.name, f"{name} is missing, but its manifest lists it")

    def _index_path(self, bundle: Bundle) -> Path:
        return self.folder / f"{bundle.name}.idx"


@dataclass(slots=True)
class _Reader:
    """Reads objects from a remote's bundles; a tree with everything below it that the store lacks.

    It fetches ranges into a file and reads objects from the file.
    """

    remote: StaticRemote
    bundles: Sequence[Bundle]
    is_stored: Callable[[Oid], bool]
    file: BinaryIO
    without_store: bool
    """Whether objects may be requested that the remote never had."""
    _indexes: dict[int, PackIndex] = field(default_factory=dict)
    _places: dict[Oid, int] = field(default_factory=dict)
    """Offset of an object in the file."""
    _whole: dict[int, int] = field(default_factory=dict)
    """Offset in the file of a bundle fetched as a whole."""
    _walked: set[Oid] = field(default_factory=set)

    def read(self, oid: Oid) -> Content | None:
        if oid not in self._places:
            self._fetch_objects([oid])
        content = self._open(oid)
        if content is None and not self.without_store:
            self._forget_indexes()
        if content is not None and content.kind == "tree" and oid not in self._walked:
            self._fetch_below(oid)
        return content

    def _open(self, oid: Oid) -> Content | None:
        place = self._places.get(oid)
        entry = None if place is None else open_entry(self.file.fileno(), place)
        return None if entry is None else Content(*entry)

    def _forget_indexes(self) -> None:
        """Delete the cached indexes of all bundles: one of the bundles may have been replaced."""
        for bundle in self.bundles:
            self.remote.forget_index(bundle)

    def _fetch_below(self, tree: Oid) -> None:
        """Fetch everything below a tree, level by level, with few requests per level."""
        level = [tree]
        while level:
            self._walked.update(level)
            folders = self._fetch_level(level)
            level = [oid for oid in folders if oid in self._places]

    def _fetch_level(self, trees: Sequence[Oid]) -> list[Oid]:
        """Fetch the entries of some trees; return the trees among them that are not walked yet."""
        missing: dict[Oid, None] = {}
        folders: dict[Oid, None] = {}
        for tree in trees:
            for entry in self._entries(tree):
                if entry.oid not in self._places and not self.is_stored(entry.oid):
                    missing[entry.oid] = None
                if entry.mode == MODE_DIRECTORY and entry.oid not in self._walked:
                    folders[entry.oid] = None
            if len(missing) > AT_ONCE:
                self._fetch_objects(list(missing))
                missing.clear()
        self._fetch_objects(list(missing))
        return list(folders)

    def _entries(self, tree: Oid) -> list[Entry]:
        """Return the entries of a fetched tree; [] if it is malformed, which the intake reports."""
        try:
            content = read_whole(self._open, tree, self.remote.remote.record_limit)
            if content is None or content[0] != "tree":
                return []
            return decode_tree(content[1])
        except (BadObject, ValueError, IndexError):
            return []

    def _fetch_objects(self, oids: Sequence[Oid]) -> None:
        places: dict[int, list[tuple[int, int]]] = {}
        for oid in dict.fromkeys(oids):
            for bundle in self.bundles:
                extent = self._index(bundle).extent(oid, bundle.size - bundle.header)
                if extent is not None:
                    places.setdefault(bundle.number, []).append(extent)
                    break
        for bundle in self.bundles:
            for start, end in _joined(sorted(places.get(bundle.number, ()))):
                self._fetch_range(bundle, start, end)

    def _index(self, bundle: Bundle) -> PackIndex:
        if bundle.number not in self._indexes:
            self._indexes[bundle.number] = self.remote.pack_index(bundle)
        return self._indexes[bundle.number]

    def _fetch_range(self, bundle: Bundle, start: int, end: int) -> None:
        """Fetch a range of a pack, and store the offsets of its objects in the file."""
        at = self._append_range(bundle, bundle.header + start, bundle.header + end)
        for oid, begin, _stop in self._index(bundle).within(
            start, end, bundle.size - bundle.header
        ):
            self._places[oid] = at + begin - start

    def _append_range(self, bundle: Bundle, start: int, end: int) -> int:
        """Fetch a range of a bundle and append it to the file; return its offset there."""
        if bundle.number in self._whole:
            return self._whole[bundle.number] + start
        at = self.file.seek(0, os.SEEK_END)
        try:
            is_part = self.remote.web.append_range(
                f"{bundle.name}.bundle",
                start,
                end,
                size=bundle.size,
                target=self.file,
                folder=self.remote.folder,
            )
        except Missing as error:
            raise self.remote.missing_file(f"{bundle.name}.bundle") from error
        finally:
            self.file.flush()
        if is_part:
            return at
        self._whole[bundle.number] = at
        return at + start


def _joined(extents: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield ranges that cover all sorted extents; extents at most GAP apart share a range."""
    if not extents:
        return
    start, end = extents[0]
    for low, high in extents[1:]:
        if low - end > GAP:
            yield start, end
            start = low
        end = max(end, high)
    yield start, end
