"""Publishing: records go up first, under a ref of their own, and become visible by one small change
of the index.

However long the first takes, it neither waits for other publishers nor keeps them waiting. The
second takes two refs and a moment; a publisher that comes second there reads what the first
published, and tries again. A push that is broken off has shown nothing: what it sent is under
`incoming`, and is deleted after a day.

A server's rules are not a race: a push that they forbid fails at once. Only where they forbid the
ref under `incoming` the records go to `content` directly, and become visible by the same change of
the index.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.files import write_scratch
from prov.remote.bases import choose_bases, write_record_commits
from prov.remote.git_remote import CONTENT, INDEX, PUBLICATIONS, SIGNATURES, GitRemote
from prov.remote.incoming import LAST, Incoming, make_commit
from prov.remote.publication import Publication, Published
from prov.remote.signature import sign
from prov.store.git import run_git
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore
from prov.transport.errors import Changed, Declined, RemoteError, Stalled, Unreachable

ATTEMPTS = 40
"""How often the index is tried when others publish at the same time."""
TOUCH_AFTER = 86_400
"""Seconds after which a result that is taken up again is said to be of use still."""
_TOO_LARGE = re.compile(r"too large|too big|exceed|maximum|size limit|pack size", re.IGNORECASE)
_NOT_THERE = "shallow update not allowed"
"""What git says when records that are compared with are not at the remote."""


@dataclass(slots=True)
class Outcome:
    """What a push did."""

    published: list[Published] = field(default_factory=list)
    known: int = 0
    """Tasks that were published before, with this output."""
    differing: list[Published] = field(default_factory=list)
    """Those of the published that somebody else published with another output first."""
    pushes: int = 0
    notes: list[str] = field(default_factory=list)
    """Warnings for the user."""
    withheld: Mapping[str, str] = field(default_factory=dict)
    """Task -> why its result is not shared."""


def publish(
    remote: GitRemote,
    offered: Sequence[Published],
    used: Iterable[Oid] = (),
    *,
    holds: Callable[[Published], bool],
    now: float | None = None,
) -> Outcome:
    """Publish results that the remote, as it was seen last, lacks.

    Their records are in the store; `holds` tells which others are, whole.

    Raises Unreachable, and RemoteError when there is nothing to sign with where others will ask for
    it.
    """
    if remote.remote.trust != "none" and not remote.remote.key:
        raise RemoteError(
            f"nothing to sign with for remote {remote.name}, which is trusted by signatures",
            hint=f"`prov remote add {remote.name} … --key FILE`",
        )
    outcome = Outcome()
    new = _new(remote, offered, outcome)
    seconds = int(time.time() if now is None else now)
    touched = [oid for oid, last in remote.index.used(used).items() if last < seconds - TOUCH_AFTER]
    if not new and not touched:
        return outcome
    with remote.scratch() as scratch:
        branches = Incoming(remote, scratch)
        try:
            batch, sent = _deliver(
                remote, branches, new, choose_bases(remote.index, new, holds), outcome, seconds
            )
            _enter_index(remote, branches, _Sent(new, touched, batch, sent, seconds), outcome)
        except Declined as error:
            raise with_what_stays(error, "nothing was published") from error
    remote.refresh()
    return outcome


def with_what_stays(error: Declined, state: str) -> Declined:
    """Return the error of a push that the server forbids, with the state that the remote is in."""
    return Declined(error.remote, f"{state}: {error.words}", hint=error.hint)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What is at the remote already, and is to become visible."""

    tasks: Sequence[Published]
    touched: Sequence[Oid]
    batch: Oid | None
    """The commit with the tasks' records; None if `content` holds them already."""
    incoming: list[str]
    """The branch that holds it."""
    seconds: int


def _enter_index(remote: GitRemote, branches: Incoming, sent: _Sent, outcome: Outcome) -> None:
    """Make what was sent visible; again and again, as long as other publishers are first."""
    try:
        for attempt in range(ATTEMPTS):
            tip = (
                remote.tip
            )  # another process of this store may bring the index up to date at any time
            outcome.published = _new(remote, sent.tasks, outcome)
            if not outcome.published and not sent.touched:
                break
            publication = Publication(sent.seconds, tuple(outcome.published), tuple(sent.touched))
            try:
                _announce(remote, branches.scratch, sent.batch, publication, tip)
                break
            except Changed:
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
                remote.refresh()
    except (Changed, Declined):
        branches.clear(sent.incoming)
        raise
    warning = branches.clear(sent.incoming)
    outcome.notes += [warning] if warning else []


def _new(remote: GitRemote, offered: Sequence[Published], outcome: Outcome) -> list[Published]:
    """Return what the remote has not with this output, and count what it has."""
    found, outcome.known, outcome.differing = [], 0, []
    for task in offered:
        there = remote.index.find(task.task_hash)
        if any(each.output == task.output and (each.workdir or not task.workdir) for each in there):
            outcome.known += 1
            continue
        found.append(task)
        if any(each.output != task.output for each in there):
            outcome.differing.append(task)
    return found


# sending content


def _deliver(
    remote: GitRemote,
    branches: Incoming,
    tasks: Sequence[Published],
    bases: Sequence[Oid],
    outcome: Outcome,
    seconds: int,
) -> tuple[Oid | None, list[str]]:
    """Push records; return the commit that holds all of them, None if `content` does, and the
    branch that it is on.
    """
    if not tasks:
        return None, []
    scratch = branches.scratch
    if not branches.is_direct:
        ref = branches.choose(seconds)

        def to_incoming(parents: Sequence[Oid]) -> Oid:
            commit = make_commit(scratch, list(parents), "content")
            send(remote, scratch, ref, commit)
            return commit

        try:
            return _send(remote, scratch, to_incoming, tasks, bases, outcome), [ref]
        except Declined as error:
            branches.clear([ref])
            if _TOO_LARGE.search(error.words):
                raise
            branches.go_direct()  # if not even this is allowed, its error counts
    _send(remote, scratch, lambda parents: _append(remote, scratch, parents), tasks, bases, outcome)
    return None, []


def _append(remote: GitRemote, scratch: Path, parents: Sequence[Oid]) -> Oid:
    """Push records as a part of the content, which says nothing of them yet; return its new
    commit.
    """
    for attempt in range(ATTEMPTS):
        tip = content_tip(remote, scratch)
        commit = make_commit(scratch, [*([tip] if tip else []), *parents], "content")
        try:
            remote.transport.push(
                scratch, {CONTENT: commit}, {CONTENT: tip}, negotiate=tip is not None
            )
            return commit
        except Changed:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
    raise AssertionError("unreachable")


def _send(
    remote: GitRemote,
    scratch: Path,
    push: Callable[[Sequence[Oid]], Oid],
    tasks: Sequence[Published],
    bases: Sequence[Oid],
    outcome: Outcome,
) -> Oid:
    """Push records, in as many parts as the limit asks for; return the commit that holds all of
    them.

    `push` pushes a commit with these parents, and returns it.
    """
    bases = write_record_commits(scratch, bases)
    write_record_commits(scratch, (task.record for task in tasks))
    if bases:
        write_scratch(scratch / "shallow", "".join(sorted(f"{oid.hex()}\n" for oid in bases)))
    last: Oid | None = None
    pending = _parts(remote, scratch, list(tasks), bases)
    while pending:
        part = pending.pop(0)
        new = (oid for task in part for oid in (task.commit, task.workdir) if oid)
        try:
            commit = push([*([last] if last else []), *bases, *new])
        except (Stalled, Changed):
            raise
        except Unreachable as error:
            if bases and _NOT_THERE in error.words:  # its content was deleted
                bases = []
                (scratch / "shallow").unlink(missing_ok=True)
                pending.insert(0, part)
                continue
            if len(part) == 1 or (
                isinstance(error, Declined) and not _TOO_LARGE.search(error.words)
            ):
                raise
            middle = len(part) // 2  # refused as too large, perhaps
            pending[:0] = [part[:middle], part[middle:]]
            continue
        outcome.pushes += 1
        last = commit
    assert last is not None
    return last


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


def _parts(
    remote: GitRemote, scratch: Path, tasks: list[Published], bases: Sequence[Oid]
) -> list[list[Published]]:
    """Return tasks in groups whose objects fit into one push each, as far as they can be
    divided.
    """
    if len(tasks) < 2:
        return [tasks]
    rows = [oid.hex() for task in tasks for oid in (task.commit, task.workdir) if oid]
    rows += [f"^{oid.hex()}" for oid in bases]
    command = ["rev-list", "--objects", "--disk-usage", "--stdin"]
    if int(run_git(scratch, command, data="\n".join(rows).encode() + b"\n")) <= remote.remote.limit:
        return [tasks]
    middle = len(tasks) // 2
    return _parts(remote, scratch, tasks[:middle], bases) + _parts(
        remote, scratch, tasks[middle:], bases
    )


# the index


def _announce(
    remote: GitRemote, scratch: Path, batch: Oid | None, publication: Publication, tip: Oid | None
) -> None:
    """Make what was sent a part of the remote: content and index, together.

    Raises Changed where the index is not at `tip` any more.
    """
    text = publication.encode()
    number = max([0, *(each.number for each in remote.index.publications())]) + 1
    signature = sign(text, remote.remote.key) if remote.remote.key else b""
    files = {f"{PUBLICATIONS}/{number:08d}": text}
    if signature:
        files[f"{SIGNATURES}/{number:08d}"] = signature
    index = make_commit(
        scratch,
        [tip] if tip else [],
        f"{len(publication.tasks)} tasks",
        write_files(scratch, files),
        publication.seconds,
    )
    if batch is None:  # the content has it all
        announce(remote, scratch, {INDEX: index}, {INDEX: tip})
        return
    before = content_tip(remote, scratch)
    content = make_commit(scratch, [*([before] if before else []), batch], "content")
    announce(remote, scratch, {CONTENT: content, INDEX: index}, {CONTENT: before, INDEX: tip})


def announce(
    remote: GitRemote,
    scratch: Path,
    updates: dict[str, Oid | None],
    expected: dict[str, Oid | None],
) -> None:
    """Change content and index at once; where a server can't, content first.

    Raises Changed when others were first.
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
    local = "refs/heads/content"
    try:
        remote.transport.fetch(scratch, [f"+{CONTENT}:{local}"], "--depth=1", "--update-shallow")
    except KeyError:
        return None
    return RefStore(scratch).get(local)


def write_files(repository: Path, files: dict[str, bytes]) -> Oid:
    """Write a tree with these files, at the top or in a folder, into a repository."""
    folders: dict[str, list[Entry]] = {}
    with ObjectDatabase(repository).writer() as writer:
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            folders.setdefault(folder, []).append(
                Entry(name.encode(), MODE_FILE, writer.add("blob", content))
            )
        top = folders.pop("", [])
        below = [
            Entry(name.encode(), MODE_DIRECTORY, writer.add_tree(each))
            for name, each in folders.items()
        ]
        return writer.add_tree([*top, *below])
