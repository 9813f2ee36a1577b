"""Form builds of runs without recipes: a build lists the last run of each name."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import NamedTuple

from prov.errors import ProvError, RefConflict, StoreError
from prov.records.build_list import ATTEMPTS, COMMANDS, BuildList, Line, Span, record_build
from prov.records.ids import CommitId, OutputId
from prov.records.keys import TaskKey
from prov.records.labels import check_label, labelled_build
from prov.records.lookup import Records
from prov.records.outcomes import Outcome
from prov.records.refs import RunRef
from prov.records.run import author
from prov.store.objects import Oid
from prov.store.repository import Store


@dataclass(frozen=True, slots=True)
class Member:
    """A run that a build gets."""

    run: RunRef
    output: OutputId
    began: float
    """Seconds since the epoch."""
    seconds: float
    added: int
    """Bytes added to the store."""


class PreviousStep(NamedTuple):
    """The run that left a directory as another run found it."""

    key: TaskKey
    output: OutputId


def check_build(store: Store, label: str) -> None:
    """Raise ProvError unless runs can be added to the build with a label; empty means a new one."""
    if label:
        check_label(label)
        _labelled(store, label)


def _labelled(store: Store, label: str) -> BuildList | None:
    """Return the build with a label, or None. Raises ProvError for a build of recipes."""
    commit = labelled_build(store, label) if label else None
    if commit is None:
        return None
    build = BuildList(store, commit)
    if not build.is_of_commands:
        raise ProvError(
            f"--build {label}: this build was not recorded by `prov run` or `prov capture`",
            hint="use a different label",
        )
    return build


def predecessor(store: Store, label: str, start: Oid) -> PreviousStep | None:
    """Return the run of a build that ended with the commit `start`, or None."""
    build = _labelled(store, label)
    if build is None:
        return None
    line = build.line(TaskKey(Records(store).facts(start).get("task", "")))
    if line is None or line.output is None:
        return None
    is_last = store.refs.get(str(RunRef(line.key, line.task_hash, line.run))) == start
    return PreviousStep(line.key, line.output) if is_last else None


def _lines(build: BuildList) -> dict[TaskKey, Line]:
    return {key: line for recipe in build.recipes() for key, line in build.lines(recipe).items()}


def add_to_build(store: Store, label: str, member: Member) -> CommitId:
    """Add a run to the build with a label, or make a build of it; return the build's commit."""
    for _ in range(ATTEMPTS):
        try:
            return _add(store, label, member)
        except RefConflict:  # another run of the same build was added
            continue
    raise StoreError(
        f"cannot add {member.run.key} to the build {label}: it keeps changing",
        hint="run the command again when fewer runs use this build",
    )


def _add(store: Store, label: str, member: Member) -> CommitId:
    build, run = _labelled(store, label), member.run
    lines = _lines(build) if build else {}
    happened = build.happened() if build else {}
    spans = {span.key: span for span in build.timeline()} if build else {}
    began = store.objects.commit(build.commit).author.seconds if build else int(member.began)
    lines.pop(run.key, None)
    happened[run.key] = f"{Outcome.FAILED} {run.task_hash.hex()}"
    if not run.failed:
        lines[run.key] = Line(run.key, run.task_hash, member.output, run.number)
        happened[run.key] = Outcome.RAN
    spans[run.key] = Span(run.key, member.began - began, member.seconds, member.added)
    failed = sum(text != Outcome.RAN for text in happened.values())
    facts = {
        "targets": run.key,
        "result": "failed" if failed else "ok",
        "seconds": f"{max(time.time() - began, 0):.3f}",
        "host": socket.gethostname(),
        "builder": COMMANDS,
        "label": label,
        "added": str(sum(span.added for span in spans.values())),
        "ran": str(len(happened) - failed),
        "failed": str(failed),
    }
    return record_build(
        store,
        lines.values(),
        happened,
        facts,
        author(began),
        timeline=spans.values(),
        label=label,
        continued=build.commit if build else None,
    )
