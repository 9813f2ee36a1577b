"""Push content to a remote before any publication lists it.

Records are pushed to a branch below `incoming`, or directly to `content` if the server forbids such
branches. A transfer is split into pushes that respect the limits of the remote and the server.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prov.files import write_scratch
from prov.records.refs import BRANCHES, REMOTE_CONTENT
from prov.remote.bases import write_record_commits
from prov.remote.git_remote import GitRemote
from prov.remote.incoming import LAST, Incoming, make_commit
from prov.remote.publication import Published
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.refs import RefStore
from prov.transport.errors import Declined, RemoteChanged, Stalled, Unreachable

ATTEMPTS = 40
"""The maximum number of attempts at a change while others publish."""
_TOO_LARGE = re.compile(r"too large|too big|exceed|maximum|size limit|pack size", re.IGNORECASE)
_NOT_THERE = "shallow update not allowed"
"""Git's message if the remote lacks the base records."""
_LOCAL_CONTENT = f"{BRANCHES}content"
Result = TypeVar("Result")


def until_first(attempt: Callable[[int], Result]) -> Result:
    """Call a function with 0, 1, … until it does not raise RemoteChanged; return its result.

    Raises RemoteChanged if each of ATTEMPTS calls does.
    """
    for number in range(ATTEMPTS - 1):
        try:
            return attempt(number)
        except RemoteChanged:
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**number)))
    return attempt(ATTEMPTS - 1)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records pushed to a remote but not published yet."""

    batch: Oid | None
    """The commit that holds them; None if `content` holds them already."""
    branches: list[str]
    """The branch below `incoming` that points to `batch`."""
    pushes: int


def deliver(
    remote: GitRemote,
    branches: Incoming,
    tasks: Sequence[Published],
    bases: Sequence[Oid],
    seconds: int,
) -> Delivery:
    """Push records; `bases` are records that both sides have.

    `seconds` is the start time of the push since the epoch. Raises Unreachable.
    """
    if not tasks:
        return Delivery(None, [], 0)
    scratch = branches.scratch
    sending = _Sending(remote, scratch)
    if not branches.is_direct:
        ref = branches.choose(seconds)

        def push_to_incoming(parents: Sequence[Oid]) -> Oid:
            commit = make_commit(scratch, list(parents), "content")
            send(remote, scratch, ref, commit)
            return commit

        try:
            batch = sending.send(tasks, bases, push_to_incoming)
            return Delivery(batch, [ref], sending.pushes)
        except Declined as error:
            branches.clear([ref])
            if _TOO_LARGE.search(error.words):
                raise
            branches.use_direct()  # if the server declines this too, report that error

    def push_to_content(parents: Sequence[Oid]) -> Oid:
        return until_first(lambda _number: _append(remote, scratch, parents))

    sending.send(tasks, bases, push_to_content)
    return Delivery(None, [], sending.pushes)


def _append(remote: GitRemote, scratch: Path, parents: Sequence[Oid]) -> Oid:
    """Append records to the remote's content without publishing them; return the new commit.

    Raises RemoteChanged if another publisher updated the content first.
    """
    tip = content_tip(remote, scratch)
    commit = make_commit(scratch, [*optional(tip), *parents], "content")
    updates, expected = {REMOTE_CONTENT: commit}, {REMOTE_CONTENT: tip}
    remote.transport.push(scratch, updates, expected, negotiate=tip is not None)
    return commit


def optional(oid: Oid | None) -> list[Oid]:
    """Return a list of the id, or an empty list for None."""
    return [oid] if oid else []


@dataclass(slots=True)
class _Sending:
    """A transfer of records in one or more pushes."""

    remote: GitRemote
    scratch: Path
    pushes: int = 0

    def send(
        self,
        tasks: Sequence[Published],
        bases: Sequence[Oid],
        push: Callable[[Sequence[Oid]], Oid],
    ) -> Oid:
        """Push records in parts within the limit; return the commit that holds all of them.

        `push` pushes a commit with the given parents and returns its id.
        """
        bases = write_record_commits(self.scratch, bases)
        write_record_commits(self.scratch, (task.record for task in tasks))
        shallow = self.scratch / "shallow"
        if bases:
            write_scratch(shallow, "".join(sorted(f"{oid.hex()}\n" for oid in bases)))
        last: Oid | None = None
        pending = self._parts(list(tasks), bases)
        while pending:
            part = pending.pop(0)
            try:
                last = push([*optional(last), *bases, *_commits(part)])
                self.pushes += 1
            except (Stalled, RemoteChanged):
                raise
            except Unreachable as error:
                if bases and _NOT_THERE in error.words:  # the remote's content was deleted
                    bases = []
                    shallow.unlink(missing_ok=True)
                    pending.insert(0, part)
                elif len(part) > 1 and _may_be_too_large(error):
                    pending[:0] = _halves(part)
                else:
                    raise
        assert last is not None
        return last

    def _parts(self, tasks: list[Published], bases: Sequence[Oid]) -> list[list[Published]]:
        """Split tasks into groups that fit into one push each; a single task is never split."""
        if len(tasks) < 2:
            return [tasks]
        rows = [oid.hex() for oid in _commits(tasks)]
        rows += [f"^{oid.hex()}" for oid in bases]
        command = ["rev-list", "--objects", "--disk-usage", "--stdin"]
        data = "\n".join(rows).encode() + b"\n"
        if int(run_git(self.scratch, command, data=data)) <= self.remote.remote.limit:
            return [tasks]
        return [part for half in _halves(tasks) for part in self._parts(half, bases)]


def _commits(tasks: Sequence[Published]) -> list[Oid]:
    """Return the commits that hold the records and WORKDIRs of tasks."""
    return [oid for task in tasks for oid in (task.commit, task.workdir) if oid]


def _halves(tasks: list[Published]) -> list[list[Published]]:
    middle = len(tasks) // 2
    return [tasks[:middle], tasks[middle:]]


def _may_be_too_large(error: Unreachable) -> bool:
    """Return whether a smaller push may succeed; not every server reports its size limit."""
    return not isinstance(error, Declined) or bool(_TOO_LARGE.search(error.words))


def send(remote: GitRemote, scratch: Path, ref: str, commit: Oid) -> None:
    """Push a commit and those of its objects that the server lacks.

    Git stops negotiating once each pushed commit descends from a commit that the server has. So
    prov pushes a second commit; its only parent is the commit that git asks about last.
    """
    updates = {ref: commit}
    tip = content_tip(remote, scratch)
    if tip is not None:
        updates[f"{ref}{LAST}"] = make_commit(scratch, [tip], "last")
    by_variable = remote.index.get("way") == "variable"
    remote.transport.push(scratch, updates, {}, negotiate=tip is not None, by_variable=by_variable)


def announce(
    remote: GitRemote,
    scratch: Path,
    updates: dict[str, Oid | None],
    expected: dict[str, Oid | None],
) -> None:
    """Update content and index atomically, or content first if the server has no atomic pushes.

    Raises RemoteChanged if another publisher updated either of them first.
    """
    try:
        remote.transport.push(scratch, updates, expected)
    except Unreachable as error:
        if "--atomic" not in error.words:
            raise
        for ref, oid in updates.items():  # in order
            remote.transport.push(scratch, {ref: oid}, {ref: expected[ref]})


def content_tip(remote: GitRemote, scratch: Path) -> Oid | None:
    """Fetch the tip of the remote's content without its parents; None if it has no content."""
    branch = f"+{REMOTE_CONTENT}:{_LOCAL_CONTENT}"
    try:
        remote.transport.fetch(scratch, [branch], "--depth=1", "--update-shallow")
    except KeyError:
        return None
    return RefStore(scratch).get(_LOCAL_CONTENT)
