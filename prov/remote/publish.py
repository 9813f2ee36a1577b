"""Publish results: push the records first, then make them visible by a small change of the index.

The first step can take long, but publishers do not wait for each other. The second step updates two
refs. A publisher that loses the race there reads the new publications and retries. An interrupted
push makes nothing visible: its objects stay under `incoming` and are deleted after a day.

A push that a server's rules forbid fails immediately, without a retry. If they forbid only the ref
under `incoming`, prov pushes the records to `content` directly and then updates the index.
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
from prov.remote.index_branch import PUBLICATIONS, SIGNATURES, PublishedId
from prov.remote.lookup.branch import LOOKUP
from prov.remote.lookup.extending import Added, add_to_table
from prov.remote.publication import Publication, Published
from prov.remote.sending import Delivery, announce, content_tip, deliver, optional, until_first
from prov.remote.signature import sign
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectDatabase
from prov.transport.errors import Declined, RemoteChanged, RemoteError

TOUCH_AFTER = 86_400
"""Seconds since its last recorded use after which a reused result is published as used again."""


@dataclass(slots=True)
class PushOutcome:
    """The outcome of a push."""

    published: list[Published] = field(default_factory=list)
    known: int = 0
    """Number of tasks that were already published with this output."""
    differing: list[Published] = field(default_factory=list)
    """Published tasks for which the remote already had a different output."""
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
    """Publish results that are missing from the remote's index, as last refreshed.

    The store has the records of `offered`; `holds` returns whether it has another complete record.
    `used` are task hashes of results that a build reused. Raises Unreachable, and RemoteError if
    the remote requires signatures and has no signing key.
    """
    if remote.remote.trust != "none" and not remote.remote.key:
        raise RemoteError(
            f"remote {remote.name}: no signing key, but --trust {remote.remote.trust} requires"
            " signatures",
            hint=f"run `prov remote add {remote.name} … --key FILE`",
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
    """Return the error with the state of the remote in front of its message."""
    return Declined(error.remote, f"{state}: {error.words}", hint=error.hint)


@dataclass(frozen=True, slots=True)
class _Sent:
    """Content sent to the remote and not visible yet."""

    tasks: Sequence[Published]
    touched: Sequence[Oid]
    """Task hashes of results that a build reused."""
    delivery: Delivery
    seconds: int
    """Start time of the push, in seconds since the epoch."""


def _enter_index(remote: GitRemote, branches: Incoming, sent: _Sent, outcome: PushOutcome) -> None:
    """Make the sent content visible; retry if another publisher updated the index first."""

    def attempt(number: int) -> None:
        if number:
            remote.refresh()
        # read the tip before the index: another process of this store may refresh it at any time
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
    """Return tasks without a published output; count the others in `outcome`."""
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
    """Return whether a published result has the task's output and, if shared, its WORKDIR."""
    return published.output == task.output and bool(published.workdir or not task.workdir)


def _announce(
    remote: GitRemote, scratch: Path, batch: Oid | None, publication: Publication, tip: Oid | None
) -> None:
    """Add the sent content and its publication to the remote, atomically.

    Raises RemoteChanged if the index has moved from `tip`.
    """
    text = publication.encode()
    number = max((listed.number for listed in remote.index.publications()), default=0) + 1
    signature = sign(text, remote.remote.key) if remote.remote.key else b""
    tree = _index_tree(remote, scratch, tip, _Signed(number, publication, text, signature))
    message = f"{len(publication.tasks)} tasks"
    index = make_commit(scratch, optional(tip), message, tree, publication.seconds)
    if batch is None:  # the content has all records already
        announce(remote, scratch, {REMOTE_INDEX: index}, {REMOTE_INDEX: tip})
        return
    before = content_tip(remote, scratch)
    content = make_commit(scratch, [*optional(before), batch], "content")
    updates: dict[str, Oid | None] = {REMOTE_CONTENT: content, REMOTE_INDEX: index}
    announce(remote, scratch, updates, {REMOTE_CONTENT: before, REMOTE_INDEX: tip})


@dataclass(frozen=True, slots=True)
class _Signed:
    """A publication to announce."""

    number: int
    publication: Publication
    text: bytes
    signature: bytes
    """Empty for an unsigned publication."""


def _index_tree(remote: GitRemote, scratch: Path, tip: Oid | None, signed: _Signed) -> Oid:
    """Write the tree of a commit of the index: a publication and the lookup table."""
    name = f"{signed.number:08d}".encode()
    with ObjectDatabase(scratch).writer() as writer:
        published = PublishedId(writer.add_blob(signed.text), None)
        folders = {PUBLICATIONS: writer.add_tree([Entry(name, MODE_FILE, published.text)])}
        if signed.signature:
            signature = writer.add_blob(signed.signature)
            published = published._replace(signature=signature)
            folders[SIGNATURES] = writer.add_tree([Entry(name, MODE_FILE, signature)])
        added = Added(published, signed.publication.tasks)
        table = add_to_table(remote, writer, tip, signed.number, added)
        if table is not None:
            folders[LOOKUP] = table
        entries = [Entry(name.encode(), MODE_DIRECTORY, oid) for name, oid in folders.items()]
        return writer.add_tree(entries)
