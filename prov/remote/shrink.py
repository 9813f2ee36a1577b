"""Remove results from a remote: by retention rules, or those chosen by the caller.

Both branches are rewritten. The new index holds every publication that still has a result, as it
was signed, and a list of the deleted ids. The new content holds the commits of the remaining
results. The index lists these, so nothing is fetched. A simultaneous publisher comes before or
after the rewrite, as with two publishers. The server's own `git gc` frees the space.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from prov.errors import StoreError
from prov.files import write_scratch
from prov.records.refs import REMOTE_CONTENT, REMOTE_INDEX
from prov.remote.bases import write_record_commits
from prov.remote.git_remote import SMALL, GitRemote
from prov.remote.incoming import Incoming, make_commit
from prov.remote.index_branch import GONE, PUBLICATIONS, SIGNATURES, UNREADABLE, PublishedId
from prov.remote.lookup.branch import LOOKUP, LookupWriter
from prov.remote.lookup.table import ids_of
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
"""Number of records that one commit of the content holds."""
PRUNE = "2.days.ago"
"""Age from which unreachable objects in a folder are deleted; a running push may use newer ones."""


@dataclass(frozen=True, slots=True)
class RemoteRules:
    """Retention rules of a remote. The last published result of each task is always kept."""

    days: float = 30.0
    """Keep results published or reused in the last N days."""
    builds: int = 20
    """Keep results of the last N publications."""
    size: int | None = None
    """Maximum bytes of all results on disk; least recently used results are deleted first."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The removed results, or those to remove."""

    remaining: int
    """Number of remaining results."""
    removed: tuple[Published, ...]
    notes: tuple[str, ...] = ()
    """Warnings for the user."""
    holding: tuple[str, ...] = ()
    """Remaining branches of pushes, which may hold removed content."""

    @property
    def size(self) -> int:
        """Size of the removed results on disk, in bytes."""
        return sum(task.size for task in self.removed)


def expired(remote: GitRemote, rules: RemoteRules, now: float) -> list[Published]:
    """Return the results that the rules remove, according to the local index."""
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


def remaining_results(remote: GitRemote, removed: Iterable[Published]) -> list[Published]:
    """Return the results that stay at a remote without the removed ones."""
    records = {task.record for task in removed}
    published = (task for task, *_ in remote.index.tasks(refused=True))
    return [task for task in published if task.record not in records]


def _kept_since(remote: GitRemote, rules: RemoteRules, now: float) -> float:
    """Return the time, in seconds since the epoch, from which the rules keep used results."""
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
    """Remove the results that `choose` returns; call it again if another process published.

    WORKDIRs of remaining results are kept if the store has them and `keeps_workdir`, if present,
    returns True. Raises Declined if a rule of the server forbids it, else Unreachable.
    """

    def attempt(_number: int) -> Shrunk:
        remote.refresh()
        tip = remote.tip
        removed = choose()
        records = {task.record for task in removed}
        remaining = remaining_results(remote, removed)
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
            state = f"nothing was removed; {len(removed)} {noun} to remove remain there"
            raise with_what_stays(error, state) from error
        return Shrunk(len(remaining), tuple(removed), notes, holding)

    shrunk = until_first(attempt)
    remote.refresh()
    return shrunk


@dataclass(frozen=True, slots=True)
class _Remaining:
    """The remaining content of a remote."""

    tasks: list[Published]
    workdirs: list[Oid]
    """Task commits of the remaining WORKDIRs."""


def _rewrite(
    remote: GitRemote, tip: Oid | None, remaining: _Remaining, removed: set[Oid]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Rewrite both branches; return warnings and the branches below `incoming` with content."""
    texts, deleted = remote.published_texts()
    workdirs = {task.workdir for task in remaining.tasks if task.workdir}
    deleted |= removed | (workdirs - set(remaining.workdirs))
    # an earlier collection can have deleted what was published again since
    deleted -= {task.record for task in remaining.tasks} | set(remaining.workdirs)
    with remote.scratch() as scratch:
        if not remaining.workdirs:
            # all objects are in the scratch and index repositories: do not search the store
            alternates = scratch / "objects" / "info" / "alternates"
            write_scratch(alternates, f"{remote.git}/objects\n")
        content = _content(scratch, remaining)
        index = _write_index(remote, scratch, texts, deleted)
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
                "enable protocol version 2 on the server, or run `prov remote gc` on the machine"
                " that has the repository"
            )
            raise Unreachable(remote.name, error.words, hint=hint) from error
        warning = branches.clear([incoming])
        return (warning,) if warning else (), tuple(branches.holding())


def _write_index(
    remote: GitRemote, scratch: Path, texts: dict[int, PublishedId], deleted: set[Oid]
) -> Oid:
    """Write the new index: publications with remaining results, and deleted ids.

    Returns the last commit. The lookup table has a commit of its own, so that a client can fetch
    it without the publications.
    """
    publications: list[Entry] = []
    signatures: list[Entry] = []
    named: set[Oid] = set()
    results = 0
    with ObjectDatabase(scratch).writer() as writer:
        table = LookupWriter(remote.branch.objects(), writer, [])
        for number, publication in sorted(texts.items()):
            try:
                tasks = decode_publication(remote.published_text(publication).text).tasks
            except UNREADABLE:
                continue
            remaining = [_left(task, deleted) for task in tasks if task.record not in deleted]
            if not remaining:
                continue
            results += len(remaining)
            table.add(number, publication, ids_of(remaining))
            named |= {oid for task in tasks for oid in (task.record, task.workdir)}
            name = b"%08d" % number
            publications.append(Entry(name, MODE_FILE, publication.text))
            if publication.signature is not None:
                signatures.append(Entry(name, MODE_FILE, publication.signature))
        text = "".join(sorted(f"{oid.hex()}\n" for oid in named & deleted)).encode()
        top = [Entry(GONE.encode(), MODE_FILE, writer.add("blob", text))]
        for folder, entries in ((PUBLICATIONS, publications), (SIGNATURES, signatures)):
            if entries:
                top.append(Entry(folder.encode(), MODE_DIRECTORY, writer.add_tree(entries)))
        tree = writer.add_tree(top)
        lookup = Entry(LOOKUP.encode(), MODE_DIRECTORY, table.finish())
        lookup_tree = writer.add_tree([lookup])
    now = int(time.time())
    collected = make_commit(scratch, [], "collected", tree, now)
    if results < SMALL:
        return collected
    return make_commit(scratch, [collected], "lookup table", lookup_tree, now)


def _left(task: Published, deleted: Collection[Oid]) -> Published:
    """Return a remaining result, without its WORKDIR if that was deleted."""
    return replace(task, workdir=b"") if task.workdir in deleted else task


def _content(scratch: Path, remaining: _Remaining) -> Oid:
    """Write the commits of the new content; return the id of the last one."""
    records = dict.fromkeys(task.record for task in remaining.tasks)
    commits = [*write_record_commits(scratch, records), *remaining.workdirs]
    last = make_commit(scratch, commits[:PARENTS], "content")
    for start in range(PARENTS, len(commits), PARENTS):
        last = make_commit(scratch, [last, *commits[start : start + PARENTS]], "content")
    return last


def free(remote: GitRemote, *, prune: str = PRUNE) -> bool:
    """Run `git gc` in a remote that is a folder; return whether it ran and succeeded."""
    folder = remote.transport.folder
    if folder is None:
        return False
    clear_stale_locks(folder)  # git gc fails at a lock
    try:
        run_git(folder, ["gc", "--quiet", f"--prune={prune}"])
    except StoreError:
        # another git gc is running, or was killed: git then refuses to start one for twelve hours
        return False
    return True
