"""Sending content to a remote, where nothing names it yet.

Records go to a branch below `incoming`, or to `content` itself where a server forbids such
branches, in as many pushes as the remote's limit and the server's ask for.
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
"""How often a change is tried when others publish at the same time."""
_TOO_LARGE = re.compile(r"too large|too big|exceed|maximum|size limit|pack size", re.IGNORECASE)
_NOT_THERE = "shallow update not allowed"
"""What git says when records that are compared with are not at the remote."""
_LOCAL_CONTENT = f"{BRANCHES}content"
Result = TypeVar("Result")


def until_first(attempt: Callable[[int], Result]) -> Result:
    """Call a function with 0, 1, … until no other publisher comes first; return what it returns.

    Raises RemoteChanged after ATTEMPTS of them.
    """
    for number in range(ATTEMPTS - 1):
        try:
            return attempt(number)
        except RemoteChanged:
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**number)))
    return attempt(ATTEMPTS - 1)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records that a remote has, and that nothing names yet."""

    batch: Oid | None
    """The commit that holds them; None if `content` does already."""
    branches: list[str]
    """The branch below `incoming` that it is on."""
    pushes: int


def deliver(
    remote: GitRemote,
    branches: Incoming,
    tasks: Sequence[Published],
    bases: Sequence[Oid],
    seconds: int,
) -> Delivery:
    """Push records; `bases` are records that both sides have, `seconds` is when the push began.

    Raises Unreachable.
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
            branches.go_direct()  # if not even this is allowed, its error counts

    def push_to_content(parents: Sequence[Oid]) -> Oid:
        return until_first(lambda _number: _append(remote, scratch, parents))

    sending.send(tasks, bases, push_to_content)
    return Delivery(None, [], sending.pushes)


def _append(remote: GitRemote, scratch: Path, parents: Sequence[Oid]) -> Oid:
    """Push records as a part of the content, which says nothing of them yet; return its new
    commit.

    Raises RemoteChanged when another publisher was first.
    """
    tip = content_tip(remote, scratch)
    commit = make_commit(scratch, [*optional(tip), *parents], "content")
    updates, expected = {REMOTE_CONTENT: commit}, {REMOTE_CONTENT: tip}
    remote.transport.push(scratch, updates, expected, negotiate=tip is not None)
    return commit


def optional(oid: Oid | None) -> list[Oid]:
    """Return the parents that a commit has by a tip that there may be."""
    return [oid] if oid else []


@dataclass(slots=True)
class _Sending:
    """Pushes records in parts."""

    remote: GitRemote
    scratch: Path
    pushes: int = 0

    def send(
        self,
        tasks: Sequence[Published],
        bases: Sequence[Oid],
        push: Callable[[Sequence[Oid]], Oid],
    ) -> Oid:
        """Push records, in as many parts as the limit asks for; return the commit that holds all of
        them.

        `push` pushes a commit with these parents, and returns it.
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
                if bases and _NOT_THERE in error.words:  # its content was deleted
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
        """Return tasks in groups whose objects fit into one push each, as far as they can be
        divided.
        """
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
    """Return the commits that hold the records of tasks, and their WORKDIRs."""
    return [oid for task in tasks for oid in (task.commit, task.workdir) if oid]


def _halves(tasks: list[Published]) -> list[list[Published]]:
    middle = len(tasks) // 2
    return [tasks[:middle], tasks[middle:]]


def _may_be_too_large(error: Unreachable) -> bool:
    """Return whether fewer records may be accepted: not every server says that it has a limit."""
    return not isinstance(error, Declined) or bool(_TOO_LARGE.search(error.words))


def send(remote: GitRemote, scratch: Path, ref: str, commit: Oid) -> None:
    """Push a commit, and of what it holds only what the server lacks.

    Git asks the server which commits it has, and stops asking when each of those that it pushes
    descends from one that is there. Hence a second one, which descends only from what is asked for
    last.
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
    """Change content and index at once; where a server can't, content first.

    Raises RemoteChanged when others were first.
    """
    try:
        remote.transport.push(scratch, updates, expected)
    except Unreachable as error:
        if "--atomic" not in error.words:
            raise
        for ref, oid in updates.items():  # in order
            remote.transport.push(scratch, {ref: oid}, {ref: expected[ref]})


def content_tip(remote: GitRemote, scratch: Path) -> Oid | None:
    """Return the commit of the remote's content, and have it here without what it holds."""
    branch = f"+{REMOTE_CONTENT}:{_LOCAL_CONTENT}"
    try:
        remote.transport.fetch(scratch, [branch], "--depth=1", "--update-shallow")
    except KeyError:
        return None
    return RefStore(scratch).get(_LOCAL_CONTENT)
