"""A cache as plain files, which any web server can serve: what `export` writes, read with ranges of it.

    prov-cache             what there is: a line for each publication and each bundle; written last
    publications/00000001  as in a git remote, with 00000001.sig beside it if it is signed
    bundles/00000001.bundle, 00000001.idx
                           the objects of that publication which no earlier bundle has: a git bundle, without deltas,
                           and git's index of the pack in it

An object is a range of a bundle, so that a client fetches those that it lacks and no others. A server that gives no
ranges gives whole bundles.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import StoreError
from prov.files import locked, replace_file
from prov.remote.access import Access, resolved_url
from prov.remote.errors import Unreachable, Untrusted
from prov.remote.index import Index
from prov.remote.intake import Source
from prov.remote.reading import PublishedText, enter, memory_folder, policy_of
from prov.remote.settings import Remote
from prov.remote.web import Denied, Missing, Web
from prov.store.objects import MODE_DIRECTORY, Entry, Kind, Oid, decode_tree, object_id
from prov.store.pack_ranges import PackIndex, parse_entry
from prov.store.repository import Store

MANIFEST = "prov-cache"
HEADER = "prov static cache 1"
MOST_TEXT = 1 << 28
"""Bytes of a publication, or of the list of them."""
GAP = 1 << 16
"""Bytes between two objects that are rather read than skipped by another request."""
_PUBLICATION = re.compile(r"publication ([0-9]{8})( signed)?", re.ASCII)
_BUNDLE = re.compile(r"bundle ([0-9]{8}) ([0-9]{1,15}) ([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: its number, its size in bytes, and how many of them are before the pack."""

    number: int
    size: int
    header: int

    @property
    def name(self) -> str:
        return f"bundles/{self.number:08d}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What there is. Publications by number, and whether they are signed."""

    publications: dict[int, bool]
    bundles: tuple[Bundle, ...]

    def encode(self) -> bytes:
        lines = [HEADER]
        lines += [f"publication {number:08d}{' signed' * signed}" for number, signed in self.publications.items()]
        lines += [f"bundle {each.number:08d} {each.size} {each.header}" for each in self.bundles]
        return ("\n".join(lines) + "\n").encode()


def decode_manifest(data: bytes) -> Manifest:
    """Return what `encode` wrote. Raises ValueError for anything else."""
    first, *lines = data.decode("ascii").splitlines()
    if first != HEADER:
        raise ValueError("it is no cache")
    publications, bundles = {}, []
    for line in lines:
        publication, bundle = _PUBLICATION.fullmatch(line), _BUNDLE.fullmatch(line)
        if publication:
            publications[int(publication[1])] = bool(publication[2])
        elif bundle:
            bundles.append(Bundle(int(bundle[1]), int(bundle[2]), int(bundle[3])))
        else:
            raise ValueError(f"unknown line {line[:80]!r}")
    return Manifest(publications, tuple(bundles))


def is_static(remote: Remote, access: Access) -> bool:
    """Tell whether a URL is that of a static cache. Raises Unreachable when nobody can say."""
    with contextlib.suppress(Missing, Denied):
        return (
            Web(remote.name, resolved_url(remote.url, access), access)
            .get(MANIFEST, most=MOST_TEXT)
            .startswith(HEADER.encode())
        )
    return False


@dataclass(slots=True)
class StaticRemote:
    """A cache of plain files, to read from."""

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

    def refresh(self) -> list[Untrusted]:
        """Bring the index up to date; return what of the new is refused. Raises Unreachable."""
        with locked(self.folder / "lock"):
            manifest = self._manifest()
            known = {each.number for each in self.index.publications()}
            policy = policy_of(self.remote)
            again = self.index.get("policy") != policy or not known <= manifest.publications.keys()
            new = sorted(manifest.publications.keys() - (set() if again else known))
            texts = {number: self._publication(number, signed=manifest.publications[number]) for number in new}
            with self.index.changing(anew=again):
                problems = [enter(self.index, self.remote, number, each) for number, each in texts.items()]
                self.index.put("policy", policy)
            return [problem for problem in problems if problem]

    def _manifest(self) -> Manifest:
        try:
            return decode_manifest(self.web.get(MANIFEST, most=MOST_TEXT))
        except Missing as error:
            raise Unreachable(self.name, f"there is no {MANIFEST} at its URL") from error
        except (ValueError, UnicodeDecodeError) as error:
            raise Unreachable(self.name, f"its {MANIFEST} is not what it should be: {error}") from error

    def _publication(self, number: int, *, signed: bool) -> PublishedText:
        name = f"publications/{number:08d}"
        try:
            text = self.web.get(name, most=MOST_TEXT)
            return PublishedText(text, self.web.get(f"{name}.sig", most=1 << 20) if signed else None)
        except Missing as error:
            raise Unreachable(self.name, f"it has no {name}, which it says to have") from error

    @contextmanager
    def objects(self, commits: Sequence[Oid], have: Sequence[Oid], *, alone: bool = False) -> Iterator[Source]:
        """Yield what reads objects; what belongs to the same task comes in few requests. Raises Unreachable."""
        here = (lambda _oid: False) if alone else self.store.objects.exists
        yield _Reader(self, self._manifest().bundles, here).read

    def pack_index(self, bundle: Bundle) -> PackIndex:
        """Return a bundle's index, which is fetched once."""
        path = self.folder / f"{bundle.name}.idx"
        if not path.exists():
            try:
                replace_file(path, self.web.get(f"{bundle.name}.idx", most=MOST_TEXT), durable=False)
            except Missing as error:
                raise Unreachable(self.name, f"it has no {bundle.name}.idx, which it says to have") from error
        try:
            return PackIndex(path)
        except (StoreError, ValueError, IndexError) as error:
            path.unlink(missing_ok=True)
            raise Unreachable(self.name, f"{bundle.name}.idx is damaged") from error


@dataclass(slots=True)
class _Reader:
    """Reads objects of a remote's bundles; of what a tree holds, all that is not here is asked for together."""

    remote: StaticRemote
    bundles: Sequence[Bundle]
    here: Callable[[Oid], bool]
    _indexes: dict[int, PackIndex] = field(default_factory=dict)
    _read: dict[Oid, tuple[Kind, bytes]] = field(default_factory=dict)
    _walked: set[Oid] = field(default_factory=set)

    def read(self, oid: Oid) -> tuple[Kind, bytes] | None:
        if oid not in self._read:
            self._bring([oid])
        found = self._read.get(oid)
        if found is not None and found[0] == "tree":
            self._bring_below(found[1])
        return found

    def _bring_below(self, tree: bytes) -> None:
        """Have at hand what a tree holds, folder below folder, a few requests for each step down."""
        step = [tree]
        while step:
            entries = [each for content in step for each in _entries(content)]
            self._bring([each.oid for each in entries if each.oid not in self._read and not self.here(each.oid)])
            folders = {each.oid for each in entries if each.mode == MODE_DIRECTORY} - self._walked
            self._walked |= folders
            step = [self._read[oid][1] for oid in folders if oid in self._read]

    def _bring(self, oids: Sequence[Oid]) -> None:
        places: dict[int, list[tuple[int, int]]] = {}
        for oid in dict.fromkeys(oids):
            for bundle in self.bundles:
                extent = self._index(bundle).extent(oid, bundle.size - bundle.header)
                if extent is not None:
                    places.setdefault(bundle.number, []).append(extent)
                    break
        for bundle in self.bundles:
            for start, end in _joined(sorted(places.get(bundle.number, ()))):
                self._take(bundle, start, end)

    def _index(self, bundle: Bundle) -> PackIndex:
        if bundle.number not in self._indexes:
            self._indexes[bundle.number] = self.remote.pack_index(bundle)
        return self._indexes[bundle.number]

    def _take(self, bundle: Bundle, start: int, end: int) -> None:
        """Read a range of a pack, and every object in it; one that is not what its id says is not taken."""
        try:
            data = self.remote.web.range(f"{bundle.name}.bundle", bundle.header + start, bundle.header + end)
        except Missing as error:
            raise Unreachable(self.remote.name, f"it has no {bundle.name}.bundle, which it says to have") from error
        for oid, at, stop in self._index(bundle).within(start, end, bundle.size - bundle.header):
            found = parse_entry(data[at - start : stop - start])
            if found is not None and object_id(*found) == oid:
                self._read[oid] = found


def _entries(content: bytes) -> list[Entry]:
    try:
        return decode_tree(content)
    except (ValueError, IndexError):  # who takes it in will say so
        return []


def _joined(extents: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield ranges that cover all extents; those with little between them become one."""
    if not extents:
        return
    start, end = extents[0]
    for low, high in extents[1:]:
        if low - end > GAP:
            yield start, end
            start = low
        end = max(end, high)
    yield start, end
