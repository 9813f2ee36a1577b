"""Builds by name, labels for builds, and pins that keep a build for good.

A build is called `latest`, by a label, or by the beginning of its commit's id; `~2` after any of
these goes two builds back. Labels and pins are refs, so that stock git knows them: `git log
prov/label/release`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prov.errors import NameUnknown, ProvError, StoreError
from prov.records.build_list import BuildList
from prov.records.ids import CommitId
from prov.records.refs import BUILDS, LABELS, PINS
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.text import nearest

LATEST = "latest"
_STEPS = re.compile(r"(.*?)((?:~[0-9]{0,9}|\^)*)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A recorded build, as a list shows it."""

    commit: Oid
    seconds: int
    """When it began, since the epoch."""
    took: float
    """Seconds."""
    facts: dict[str, str]
    labels: tuple[str, ...]
    pinned: bool

    @property
    def id(self) -> str:
        return self.commit.hex()[:12]


def find_build(store: Store, name: str) -> BuildList:
    """Return the build that a name stands for. Raises NameUnknown with the nearest names."""
    match = _STEPS.fullmatch(name)
    base, steps = match.groups() if match else (name, "")
    build = BuildList(store, CommitId(_find(store, base, name)))
    for step in re.findall(r"~\d*|\^", steps):
        for _ in range(int(step[1:]) if step[1:] else 1):
            before = build.before()
            if before is None:
                raise NameUnknown(
                    f"{name}: there are not so many builds before {base}", hint="`prov builds`"
                )
            build = before
    return build


def is_build(store: Store, commit: Oid) -> bool:
    """Tell whether a commit is a build."""
    names = {entry.name for entry in store.objects.tree(store.objects.commit(commit).tree)}
    return {b"build", b"tasks"} <= names


def _find(store: Store, base: str, name: str) -> Oid:
    if base in (LATEST, "builds", ""):
        commit = store.refs.get(BUILDS)
        if commit is None:
            raise NameUnknown("no build is recorded", hint="`prov build`")
        return commit
    if _LABEL.fullmatch(base):
        labelled = store.refs.get(LABELS + base)
        if labelled is not None:
            return labelled
    commit = _by_id(store, base)
    if commit is None or not is_build(store, commit):
        known = [LATEST, *(ref.removeprefix(LABELS) for ref in store.refs.list(LABELS))]
        what = "is a commit, but no build's" if commit else "names no build"
        raise NameUnknown(f"{name} {what}", hint=nearest(base, known) or "`prov builds` lists them")
    return commit


def _by_id(store: Store, base: str) -> Oid | None:
    if re.fullmatch("[0-9a-f]{4,40}", base):
        found = run_git(store.path, ["rev-parse", f"--disambiguate={base}"]).decode().split()
        commits = [oid for oid in found if store.objects.read(bytes.fromhex(oid))[0] == "commit"]
        builds = [oid for oid in commits if is_build(store, bytes.fromhex(oid))]
        if len(builds) > 1:
            raise NameUnknown(
                f"{base} is the beginning of {len(builds)} builds", hint=f"{', '.join(builds[:4])}"
            )
        return bytes.fromhex((builds or commits or [""])[0]) or None
    try:
        answer = run_git(
            store.path,
            ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}"],
        )
    except StoreError:
        return None
    return bytes.fromhex(answer.decode().strip())


def is_build_name(store: Store, name: str) -> bool:
    """Tell whether a name is one that stands for a build, and for nothing else."""
    try:
        find_build(store, name)
    except NameUnknown:
        return False
    return True


def walk_builds(build: BuildList | None) -> Iterator[BuildList]:
    """Yield a build and those before it, the newest first."""
    while build is not None:
        yield build
        build = build.before()


def list_builds(store: Store, limit: int) -> list[BuildRow]:
    """Return the last builds, the newest first."""
    labels, pins = labels_of(store), pinned(store)
    rows: list[BuildRow] = []
    for build in walk_builds(BuildList.latest(store)):
        if len(rows) == limit:
            break
        rows.append(row(build, labels, pins))
    return rows


def row(build: BuildList, labels: dict[Oid, tuple[str, ...]], pins: frozenset[Oid]) -> BuildRow:
    """Return a build as a list shows it."""
    commit = build.commit
    when = build.store.objects.commit(commit).author.seconds
    return BuildRow(
        commit, when, build.seconds(), build.facts(), labels.get(commit, ()), commit in pins
    )


def labels_of(store: Store) -> dict[Oid, tuple[str, ...]]:
    """Return build -> its labels."""
    found: dict[Oid, tuple[str, ...]] = {}
    for ref, oid in store.refs.list(LABELS).items():
        found[oid] = (*found.get(oid, ()), ref.removeprefix(LABELS))
    return found


def pinned(store: Store) -> frozenset[Oid]:
    """Return the builds that are kept for good."""
    return frozenset(store.refs.list(PINS).values())


def set_label(store: Store, label: str, build: BuildList) -> Oid | None:
    """Give a build a label, which moves if another one has it; return that other one."""
    taken = (
        label in (LATEST, "builds")
        or label.endswith("HEAD")
        or re.fullmatch("[0-9a-f]{4,40}", label)
    )
    if taken or not _LABEL.fullmatch(label) or ".." in label or label.endswith((".lock", ".")):
        hint = "letters, digits and . _ + -; not `latest`, nor what may be the beginning of an id"
        raise ProvError(f"{label!r} can't be a label", hint=hint)
    before = store.refs.get(LABELS + label)
    store.refs.update(RefUpdate(LABELS + label, build.commit, before))
    return before if before != build.commit else None


def remove_label(store: Store, label: str) -> None:
    """Take a label away. Raises NameUnknown."""
    known = [ref.removeprefix(LABELS) for ref in store.refs.list(LABELS)]
    if label not in known:
        raise NameUnknown(f"there is no label {label}", hint=nearest(label, known))
    store.refs.update(RefUpdate(LABELS + label, None))


def set_pin(store: Store, build: BuildList, *, keep: bool) -> None:
    """Keep a build for good, or no longer."""
    ref = PINS + build.commit.hex()
    if keep or store.refs.get(ref) is not None:
        store.refs.update(RefUpdate(ref, build.commit if keep else None))
