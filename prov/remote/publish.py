"""Publishing: records go up first, and become visible by one small change of the index.

However long the first takes, it neither waits for other publishers nor keeps them waiting. The
second takes two refs and a moment; a publisher that comes second there reads what the first
published, and tries again. A push that is broken off has shown nothing: what it sent is under
`incoming`, and is deleted after a day.

A server's rules are not a race: a push that they forbid fails at once. Only where they forbid the
ref under `incoming` the records go to `content` directly, and become visible by the same change of
the index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.records.refs import REMOTE_CONTENT, REMOTE_INDEX
from prov.remote.bases import choose_bases
from prov.remote.git_remote import GitRemote
from prov.remote.incoming import Incoming, make_commit
from prov.remote.index_branch import PUBLICATIONS, SIGNATURES
from prov.remote.publication import Publication, Published
from prov.remote.sending import Delivery, announce, content_tip, deliver, optional, until_first
from prov.remote.signature import sign
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectDatabase
from prov.transport.errors import Declined, RemoteChanged, RemoteError

TOUCH_AFTER = 86_400
"""Seconds after which a result that is taken up again is said to be of use still."""


@dataclass(slots=True)
class PushOutcome:
    """What a push did."""

    published: list[Published] = field(default_factory=list)
    known: int = 0
    """Tasks that were published before, with this output."""
    differing: list[Published] = field(default_factory=list)
    """Those of the published that others published with another output first."""
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
) -> PushOutcome:
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
    outcome = PushOutcome()
    new = _new(remote, offered, outcome)
    seconds = int(time.time() if now is None else now)
    touched = [oid for oid, last in remote.index.used(used).items() if last < seconds - TOUCH_AFTER]
    if not new and not touched:
        return outcome
    with remote.scratch() as scratch:
        branches = Incoming(remote, scratch)
        try:
            bases = choose_bases(remote.index, new, holds)
            delivery = deliver(remote, branches, new, bases, seconds)
            outcome.pushes = delivery.pushes
            _enter_index(remote, branches, _Sent(new, touched, delivery, seconds), outcome)
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
    """Task hashes whose results a build took up again."""
    delivery: Delivery
    seconds: int
    """When the push began, since the epoch."""


def _enter_index(remote: GitRemote, branches: Incoming, sent: _Sent, outcome: PushOutcome) -> None:
    """Make what was sent visible; again and again, as long as other publishers are first."""

    def attempt(number: int) -> None:
        if number:
            remote.refresh()
        # before the index is read: another process of this store may bring it up to date any time
        tip = remote.tip
        outcome.published = _new(remote, sent.tasks, outcome)
        if outcome.published or sent.touched:
            publication = Publication(sent.seconds, tuple(outcome.published), tuple(sent.touched))
            _announce(remote, branches.scratch, sent.delivery.batch, publication, tip)

    try:
        until_first(attempt)
    except (RemoteChanged, Declined):
        branches.clear(sent.delivery.branches)
        raise
    warning = branches.clear(sent.delivery.branches)
    if warning:
        outcome.notes.append(warning)


def _new(remote: GitRemote, offered: Sequence[Published], outcome: PushOutcome) -> list[Published]:
    """Return what the remote has not with this output, and count what it has."""
    new, outcome.known, outcome.differing = [], 0, []
    for task in offered:
        earlier = remote.index.find(task.task_hash)
        if any(_covers(result, task) for result in earlier):
            outcome.known += 1
            continue
        new.append(task)
        if any(result.output != task.output for result in earlier):
            outcome.differing.append(task)
    return new


def _covers(published: Published, task: Published) -> bool:
    """Return whether a result that is published has the output of a task, and its WORKDIR."""
    return published.output == task.output and bool(published.workdir or not task.workdir)


def _announce(
    remote: GitRemote, scratch: Path, batch: Oid | None, publication: Publication, tip: Oid | None
) -> None:
    """Make what was sent a part of the remote: content and index, together.

    Raises RemoteChanged where the index is not at `tip` any more.
    """
    text = publication.encode()
    number = max((listed.number for listed in remote.index.publications()), default=0) + 1
    signature = sign(text, remote.remote.key) if remote.remote.key else b""
    files = {f"{PUBLICATIONS}/{number:08d}": text}
    if signature:
        files[f"{SIGNATURES}/{number:08d}"] = signature
    tree = write_files(scratch, files)
    message = f"{len(publication.tasks)} tasks"
    index = make_commit(scratch, optional(tip), message, tree, publication.seconds)
    if batch is None:  # the content has it all
        announce(remote, scratch, {REMOTE_INDEX: index}, {REMOTE_INDEX: tip})
        return
    before = content_tip(remote, scratch)
    content = make_commit(scratch, [*optional(before), batch], "content")
    updates: dict[str, Oid | None] = {REMOTE_CONTENT: content, REMOTE_INDEX: index}
    announce(remote, scratch, updates, {REMOTE_CONTENT: before, REMOTE_INDEX: tip})


def write_files(repository: Path, files: dict[str, bytes]) -> Oid:
    """Write a tree with these files, at the top or in a folder, into a repository."""
    folders: dict[str, list[Entry]] = {}
    with ObjectDatabase(repository).writer() as writer:
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            entry = Entry(name.encode(), MODE_FILE, writer.add("blob", content))
            folders.setdefault(folder, []).append(entry)
        top = folders.pop("", [])
        for name, entries in folders.items():
            top.append(Entry(name.encode(), MODE_DIRECTORY, writer.add_tree(entries)))
        return writer.add_tree(top)
