"""Builds by name, and lists of them.

A build is called `latest`, by a label, or by the beginning of its commit's id; `~2` after any of
these goes two builds back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import islice

from prov.errors import NameUnknown, StoreError
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
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import nearest

_NAME = re.compile(r"(.*?)((?:~[0-9]{0,9}|\^)*)", re.DOTALL)
_STEP = re.compile(r"~\d*|\^")
_ID_PREFIX = re.compile("[0-9a-f]{4,40}")


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A recorded build, as a list shows it."""

    commit: CommitId
    seconds: int
    """When it began, since the epoch."""
    took: float
    """Seconds."""
    facts: dict[str, str]
    labels: tuple[str, ...]
    pinned: bool

    @property
    def id(self) -> str:
        """The beginning of its commit's id, as users write it."""
        return short_id(self.commit)


def short_id(build: CommitId) -> str:
    """Return the beginning of a build's id, as users write it: 12 hex digits."""
    return build.hex()[:12]


def find_build(store: Store, name: str) -> BuildList:
    """Return the build that a name stands for. Raises NameUnknown with the nearest names."""
    base, count = split_steps(name)
    build = BuildList(store, _find(store, base, name))
    for _ in range(count):
        before = build.before()
        if before is None:
            raise NameUnknown(
                f"{name}: there are not so many builds before {base}", hint="`prov builds`"
            )
        build = before
    return build


def split_steps(name: str) -> tuple[str, int]:
    """Return a name without its steps back, and the number of steps: `latest~2^` is three."""
    match = _NAME.fullmatch(name)
    base, steps = match.groups() if match else (name, "")
    return base, sum(_step_length(step) for step in _STEP.findall(steps))


def _step_length(step: str) -> int:
    """Return how many builds `~3`, `~` or `^` goes back."""
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
    commit = _commit_by_id(store, base) if _ID_PREFIX.fullmatch(base) else _git_commit(store, base)
    if commit is not None and is_build(store, commit):
        return CommitId(commit)
    problem = "is a commit, but no build's" if commit else "names no build"
    hint = nearest(base, [LATEST, *all_labels(store)]) or "`prov builds` lists them"
    raise NameUnknown(f"{name} {problem}", hint=hint)


def _last(store: Store) -> CommitId:
    commit = store.refs.get(BUILDS)
    if commit is None:
        raise NameUnknown("no build is recorded", hint="`prov build`")
    return CommitId(commit)


def _commit_by_id(store: Store, digits: str) -> Oid | None:
    """Return the build, else the commit, whose id begins with some hex digits.

    Raises NameUnknown if several builds' ids do.
    """
    answer = run_git(store.path, ["rev-parse", f"--disambiguate={digits}"]).decode()
    objects = [bytes.fromhex(text) for text in answer.split()]
    commits = [oid for oid in objects if store.objects.read(oid)[0] == "commit"]
    builds = [oid for oid in commits if is_build(store, oid)]
    if len(builds) > 1:
        raise NameUnknown(
            f"{digits} is the beginning of {len(builds)} builds",
            hint=", ".join(oid.hex() for oid in builds[:4]),
        )
    return next(iter(builds or commits), None)


def _git_commit(store: Store, name: str) -> Oid | None:
    """Return the commit that git finds under a name, None if it finds none."""
    options = ["--verify", "--quiet", "--end-of-options"]
    try:
        answer = run_git(store.path, ["rev-parse", *options, f"{name}^{{commit}}"])
    except StoreError:
        return None
    return bytes.fromhex(answer.decode().strip())


def is_build_name(store: Store, name: str) -> bool:
    """Return whether a name stands for a build."""
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
    """Return a build as a list shows it."""
    commit = build.commit
    began = build.store.objects.commit(commit).author.seconds
    return BuildRow(
        commit, began, build.seconds(), build.facts(), labels.get(commit, ()), commit in pins
    )
