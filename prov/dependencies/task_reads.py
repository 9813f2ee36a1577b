"""List what a recorded run read, by the packages that contain the paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from prov.dependencies.openembedded_reads import BITBAKE_HASH, OpenEmbeddedReader
from prov.dependencies.recorded import ReadsReader
from prov.dependencies.usage import NeededPackage, Places
from prov.errors import NameUnknown
from prov.history.names import RunName
from prov.reads.reads import Read, Reads, decode_reads
from prov.records.entries import READS, SYSROOT_OF
from prov.records.record import Record, read_run_record
from prov.store.repository import Store


class Owner(StrEnum):
    """What contains a path."""

    PACKAGE = "package"
    """The output of a task, in a sysroot or in a folder of its own."""
    SYSROOTS = "sysroots"
    """The sysroots, but not exactly one package: a common folder, or a path in no package."""
    WORKDIR = "workdir"
    """The recipe's WORKDIR, or the directory of the recorded command."""
    REST = "rest"
    """The toolchain, or the rest of the machine."""


@dataclass(frozen=True, slots=True, order=True)
class PathGroup:
    """The owner of some paths."""

    owner: Owner
    package: str = ""
    """The task whose output the package is; empty for other owners."""


@dataclass(frozen=True, slots=True)
class RunReads:
    """What a run read."""

    run: RunName
    reads: Reads
    groups: dict[PathGroup, list[Read]]
    """The rows of the list by their owners; packages come first, by name."""


def run_reads(store: Store, run: RunName) -> RunReads:
    """Return what a run read. Raises NameUnknown if its record has no list of reads."""
    record = read_run_record(store.objects, run.commit)
    facts = record.facts(store.objects)
    data = record.text(store.objects, READS)
    if not data:
        raise NameUnknown(
            f"the record of {run.tag} has no list of reads", hint=_hint(run, record, facts)
        )
    reads = decode_reads(data)
    packages: Sequence[NeededPackage] = ()
    places = Places((), (), is_sandboxed=False)
    workdir = facts.get("workdir", "")
    if SYSROOT_OF in record.parts:
        recorded = OpenEmbeddedReader(store).read(run)
        packages, places = recorded.packages, recorded.places
    elif record.is_recipes:
        recorded = ReadsReader(store).read(run)
        packages, places = recorded.packages, recorded.places
        workdir = facts.get("seen-workdir", workdir)
    return RunReads(run, reads, group_rows(reads.rows, packages, places, workdir))


def _hint(run: RunName, record: Record, facts: Mapping[str, str]) -> str:
    if record.is_recipes:
        return f"run `prov build --trace {run.key} {run.key}` to record one"
    if BITBAKE_HASH in facts:
        return "run the task again with `bitbake -f -c TASK RECIPE`; a restored task has no list"
    return "record a new run with `prov run --trace`"


def group_rows(
    rows: Iterable[Read], packages: Sequence[NeededPackage], places: Places, workdir: str
) -> dict[PathGroup, list[Read]]:
    """Return rows by the owners of their paths; each row has one owner.

    A relative path is in the directory of a recorded command, unless it leads out of it.
    """
    groups: dict[PathGroup, list[Read]] = {}
    for row in rows:
        groups.setdefault(_group(row.path, packages, places, workdir), []).append(row)
    order = list(Owner)
    return dict(sorted(groups.items(), key=lambda item: (order.index(item[0].owner), item[0])))


def _group(path: str, packages: Sequence[NeededPackage], places: Places, workdir: str) -> PathGroup:
    owners = set(_owners(path, packages))
    if len(owners) == 1:
        return PathGroup(Owner.PACKAGE, owners.pop())
    sysroots = (*places.target, *places.native)
    if owners or any(_is_below(path, place) for place in sysroots):
        return PathGroup(Owner.SYSROOTS)
    is_inside = not path.startswith(("/", "../")) and path != ".."
    if is_inside or (workdir and _is_below(path, workdir)):
        return PathGroup(Owner.WORKDIR)
    return PathGroup(Owner.REST)


def _owners(path: str, packages: Sequence[NeededPackage]) -> Iterator[str]:
    for package in packages:
        for place in package.places:
            if path.startswith(f"{place}/") and path[len(place) + 1 :] in package.items:
                yield package.key


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
