"""Making a remote smaller: by rules, or by taking out what should never have been there.

Both branches are written anew: the index from the publications of which anything stays, as they
were signed, with a list of what is gone; the content from the commits of what stays. These are
known from the index, so that nothing has to be fetched. A publisher at the same time comes before
or after, as two publishers do. The room is freed by the server's own `git gc`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prov.errors import StoreError
from prov.files import write_scratch
from prov.records.refs import REMOTE_CONTENT, REMOTE_INDEX
from prov.remote.bases import write_record_commits
from prov.remote.git_remote import GitRemote
from prov.remote.incoming import Incoming, make_commit
from prov.remote.index_branch import GONE, PUBLICATIONS, SIGNATURES, UNREADABLE, PublishedId
from prov.remote.publication import Published, decode_publication
from prov.remote.publish import TOUCH_AFTER, with_what_stays
from prov.remote.sending import announce, content_tip, send, until_first
from prov.store.git import run_git
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectDatabase
from prov.transport.errors import Declined, RemoteChanged, Unreachable
from prov.transport.locks import clear_stale_locks

DAY = 86_400.0
PARENTS = 1000
"""Records that one commit of the content holds."""
PRUNE = "2.days.ago"
"""What nothing holds any more is freed in a folder when it is so old: a push under way may count on
it.
"""


@dataclass(frozen=True, slots=True)
class RemoteRules:
    """What is kept at a remote; of each task, what was published last is kept always."""

    days: float = 30.0
    """What was published or taken up by a build since."""
    builds: int = 20
    """What the last publications named."""
    size: int | None = None
    """Bytes that the results would take on disk; the least recently used go first."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What was removed, or would be."""

    remaining: int
    """Results that stay."""
    removed: tuple[Published, ...]
    notes: tuple[str, ...] = ()
    """Warnings for the user."""
    holding: tuple[str, ...] = ()
    """Branches of pushes that are left there and may hold what was removed."""

    @property
    def size(self) -> int:
        """Bytes that what was removed would take on disk."""
        return sum(task.size for task in self.removed)


def expired(remote: GitRemote, rules: RemoteRules, now: float) -> list[Published]:
    """Return what the rules remove, as far as this store knows the remote."""
    rows = [(task, last_use) for task, _number, last_use in remote.index.tasks(refused=True)]
    newest = {task.key: task.record for task, _ in rows}
    older = [(task, last_use) for task, last_use in rows if newest[task.key] != task.record]
    since = _kept_since(remote, rules, now)
    removed = [task for task, last_use in older if last_use < since]
    if rules.size is None:
        return removed
    records = {task.record for task in removed}
    by_use = sorted(
        ((last_use, task) for task, last_use in older if task.record not in records),
        key=lambda pair: pair[0],
    )
    total = sum(task.size for task, _ in rows if task.record not in records)
    for _last_use, task in by_use:
        if total <= rules.size:
            break
        removed.append(task)
        total -= task.size
    return removed


def _kept_since(remote: GitRemote, rules: RemoteRules, now: float) -> float:
    """Return the time, since the epoch, since which the rules keep what was used."""
    since = now - rules.days * DAY
    times = sorted((listed.seconds for listed in remote.index.publications()), reverse=True)
    if not rules.builds or not times:
        return since
    first = times[min(rules.builds, len(times)) - 1]
    return min(since, first - TOUCH_AFTER)


def shrink(
    remote: GitRemote,
    choose: Callable[[], list[Published]],
    *,
    keeps_workdir: Callable[[Oid], bool] | None = None,
) -> Shrunk:
    """Take out what `choose` returns; it is called again when another process published meanwhile.

    `keeps_workdir` decides which WORKDIRs of the results that stay, of those that are in the store,
    stay as well: all, by default. Raises Declined where a rule of the server's forbids it, else
    Unreachable.
    """

    def attempt(_number: int) -> Shrunk:
        remote.refresh()
        tip = remote.tip
        removed = choose()
        records = {task.record for task in removed}
        published = [task for task, *_ in remote.index.tasks(refused=True)]
        remaining = [task for task in published if task.record not in records]
        if not removed:
            return Shrunk(len(remaining), ())
        workdirs = [
            task.workdir
            for task in remaining
            if task.workdir and remote.store.objects.exists(task.workdir)
        ]
        if keeps_workdir is not None:
            workdirs = [oid for oid in workdirs if keeps_workdir(oid)]
        content = _Remaining(remaining, workdirs)
        try:
            notes, holding = _rewrite(remote, tip, content, records)
        except Declined as error:
            noun = "result" if len(removed) == 1 else "results"
            state = f"nothing was removed, {len(removed)} {noun} to remove still there"
            raise with_what_stays(error, state) from error
        return Shrunk(len(remaining), tuple(removed), notes, holding)

    shrunk = until_first(attempt)
    remote.refresh()
    return shrunk


@dataclass(frozen=True, slots=True)
class _Remaining:
    """What stays at a remote."""

    tasks: list[Published]
    workdirs: list[Oid]
    """The task commits of those WORKDIRs that stay."""


def _rewrite(
    remote: GitRemote, tip: Oid | None, remaining: _Remaining, removed: set[Oid]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Set both branches anew; return warnings, and the branches below `incoming` that hold content
    still.
    """
    texts, deleted = remote.published_texts()
    workdirs = {task.workdir for task in remaining.tasks if task.workdir}
    deleted |= removed | (workdirs - set(remaining.workdirs))
    with remote.scratch() as scratch:
        if not remaining.workdirs:
            # nothing is read of the store, and git need not look whether it could be
            alternates = scratch / "objects" / "info" / "alternates"
            write_scratch(alternates, f"{remote.git}/objects\n")
        index_tree = _write_index(remote, scratch, texts, deleted)
        content = _content(scratch, remaining)
        index = make_commit(scratch, [], "collected", index_tree, int(time.time()))
        expected = {REMOTE_CONTENT: content_tip(remote, scratch), REMOTE_INDEX: tip}
        branches = Incoming(remote, scratch)
        incoming = branches.choose(int(time.time()))
        try:
            send(remote, scratch, incoming, content)
            announce(remote, scratch, {REMOTE_CONTENT: content, REMOTE_INDEX: index}, expected)
        except (RemoteChanged, Declined):
            branches.clear([incoming])
            raise
        except Unreachable as error:
            branches.clear([incoming])
            hint = (
                "what is kept can be told only to a server with protocol version 2; else"
                " collect it as a folder"
            )
            raise Unreachable(remote.name, error.words, hint=hint) from error
        warning = branches.clear([incoming])
        return (warning,) if warning else (), tuple(branches.holding())


def _write_index(
    remote: GitRemote, scratch: Path, texts: dict[int, PublishedId], deleted: set[Oid]
) -> Oid:
    """Write the tree of the new index: publications of which anything stays, and what of theirs is
    deleted.
    """
    publications: list[Entry] = []
    signatures: list[Entry] = []
    named: set[Oid] = set()
    for number, publication in sorted(texts.items()):
        try:
            tasks = decode_publication(remote.published_text(publication).text).tasks
        except UNREADABLE:
            continue
        if all(task.record in deleted for task in tasks):
            continue
        named |= {oid for task in tasks for oid in (task.record, task.workdir)}
        name = b"%08d" % number
        publications.append(Entry(name, MODE_FILE, publication.text))
        if publication.signature is not None:
            signatures.append(Entry(name, MODE_FILE, publication.signature))
    with ObjectDatabase(scratch).writer() as writer:
        text = "".join(sorted(f"{oid.hex()}\n" for oid in named & deleted)).encode()
        top = [Entry(GONE.encode(), MODE_FILE, writer.add("blob", text))]
        for folder, entries in ((PUBLICATIONS, publications), (SIGNATURES, signatures)):
            if entries:
                top.append(Entry(folder.encode(), MODE_DIRECTORY, writer.add_tree(entries)))
        return writer.add_tree(top)


def _content(scratch: Path, remaining: _Remaining) -> Oid:
    """Write the commits of the new content; return the last one."""
    records = dict.fromkeys(task.record for task in remaining.tasks)
    commits = [*write_record_commits(scratch, records), *remaining.workdirs]
    last = make_commit(scratch, commits[:PARENTS], "content")
    for start in range(PARENTS, len(commits), PARENTS):
        last = make_commit(scratch, [last, *commits[start : start + PARENTS]], "content")
    return last


def free(remote: GitRemote, *, prune: str = PRUNE) -> bool:
    """Delete what nothing holds any more, if the remote is a folder; return whether it is."""
    folder = remote.transport.folder
    if folder is None:
        return False
    clear_stale_locks(folder)  # git's collection gives up at one
    try:
        run_git(folder, ["gc", "--quiet", f"--prune={prune}"])
    except StoreError:
        # another process collects, or was killed while it did: git waits for twelve hours then
        return False
    return True
