"""Find and list builds.

The name of a build is `latest`, a label, or a prefix of its commit id. `NAME~2` is the build two
before NAME.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import islice

from prov.errors import NameUnknown
from prov.records.build_list import BuildList, walk_builds
from prov.records.ids import CommitId
from prov.records.labels import (
    LATEST,
    NOT_LABELS,
    all_labels,
    labelled_build,
    labels_of,
    pinned,
)
from prov.records.refs import BUILDS
from prov.records.revisions import find_commit
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import nearest

_NAME = re.compile(r"(.*?)((?:~[0-9]{0,9}|\^)*)", re.DOTALL)
_STEP = re.compile(r"~\d*|\^")
_ID_PREFIX = re.compile("[0-9a-f]{4,40}")


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A recorded build, as listed."""

    commit: CommitId
    seconds: int
    """Start time, in seconds since the epoch."""
    took: float
    """Duration in seconds."""
    facts: dict[str, str]
    labels: tuple[str, ...]
    pinned: bool

    @property
    def id(self) -> str:
        """The abbreviated commit id."""
        return short_id(self.commit)


def short_id(build: CommitId) -> str:
    """Return the abbreviated id of a build: 12 hex digits."""
    return build.hex()[:12]


def find_build(store: Store, name: str) -> BuildList:
    """Return the build with a name. Raises NameUnknown with similar names as the hint."""
    base, count = split_steps(name)
    build = BuildList(store, _find(store, base, name))
    for _ in range(count):
        before = build.before()
        if before is None:
            raise NameUnknown(
                f"{name}: fewer than {count} builds precede {base}",
                hint="run `prov builds` to list builds",
            )
        build = before
    return build


def split_steps(name: str) -> tuple[str, int]:
    """Return a name without its steps back, and the number of steps: `latest~2^` is three."""
    match = _NAME.fullmatch(name)
    base, steps = match.groups() if match else (name, "")
    return base, sum(_step_length(step) for step in _STEP.findall(steps))


def _step_length(step: str) -> int:
    """Return how many builds to go back for `~3`, `~` or `^`."""
    digits = step[1:]
    return int(digits) if digits else 1


def is_build(store: Store, commit: Oid) -> bool:
    """Return whether a commit is a build."""
    names = {entry.name for entry in store.objects.tree(store.objects.commit(commit).tree)}
    return {b"build", b"tasks"} <= names


def _find(store: Store, base: str, name: str) -> CommitId:
    if base in NOT_LABELS:
        return _last(store)
    labelled = labelled_build(store, base)
    if labelled is not None:
        return labelled
    commit = _commit_by_id(store, base) if _ID_PREFIX.fullmatch(base) else find_commit(store, base)
    if commit is not None and is_build(store, commit):
        return CommitId(commit)
    message = f"{name}: commit is not a build" if commit else f"no build is named {name}"
    hint = nearest(base, [LATEST, *all_labels(store)]) or "run `prov builds` to list builds"
    raise NameUnknown(message, hint=hint)


def _last(store: Store) -> CommitId:
    commit = store.refs.get(BUILDS)
    if commit is None:
        raise NameUnknown("no build is recorded", hint="run `prov build` or `prov run`")
    return CommitId(commit)


def _commit_by_id(store: Store, digits: str) -> Oid | None:
    """Return the build, or any other commit, with an id that begins with hex digits.

    Raises NameUnknown if several builds match.
    """
    objects = store.objects.beginning_with(digits)
    commits = [oid for oid in objects if store.objects.header(oid)[0] == "commit"]
    builds = [oid for oid in commits if is_build(store, oid)]
    if len(builds) > 1:
        raise NameUnknown(
            f"{digits} is ambiguous: {len(builds)} builds begin with it",
            hint=f"use one of {', '.join(oid.hex() for oid in builds[:4])}",
        )
    return next(iter(builds or commits), None)


def is_build_name(store: Store, name: str) -> bool:
    """Return whether a name is the name of a build."""
    try:
        find_build(store, name)
    except NameUnknown:
        return False
    return True


def list_builds(store: Store, limit: int) -> list[BuildRow]:
    """Return the last builds, the newest first."""
    labels, pins = labels_of(store), pinned(store)
    builds = islice(walk_builds(BuildList.latest(store)), limit)
    return [build_row(build, labels, pins) for build in builds]


def build_row(
    build: BuildList, labels: Mapping[CommitId, tuple[str, ...]], pins: Set[CommitId]
) -> BuildRow:
    """Return a build's row in a list."""
    commit = build.commit
    began = build.store.objects.commit(commit).author.seconds
    return BuildRow(
        commit, began, build.seconds(), build.facts(), labels.get(commit, ()), commit in pins
    )
