"""Making a remote smaller: by rules, or by taking out what should never have been there.

Both branches are written anew: the index from the publications of which anything stays, as they
were signed, with a list of what is gone; the content from the commits of what stays. These are
known from the index, so that nothing has to be fetched. Whoever publishes at the same time comes
before or after, as two publishers do. The room is freed by the server's own `git gc`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prov.errors import StoreError
from prov.files import write_scratch
from prov.remote.bases import write_record_commits
from prov.remote.git_remote import (
    CONTENT,
    GONE,
    INDEX,
    PUBLICATIONS,
    SIGNATURES,
    GitRemote,
    PublishedId,
)
from prov.remote.incoming import Incoming, make_commit
from prov.remote.publication import Published, decode_publication
from prov.remote.publish import (
    ATTEMPTS,
    TOUCH_AFTER,
    announce,
    content_tip,
    send,
    with_what_stays,
)
from prov.store.git import run_git
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectDatabase
from prov.transport.errors import Changed, Declined, Unreachable
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
    """What went, or would go."""

    kept: int
    gone: tuple[Published, ...]
    notes: tuple[str, ...] = ()
    """Warnings for the user."""
    holding: tuple[str, ...] = ()
    """Branches of pushes that are left there and may hold what went."""

    @property
    def size(self) -> int:
        """Bytes that what went would take on disk."""
        return sum(task.size for task in self.gone)


def expired(remote: GitRemote, rules: RemoteRules, now: float) -> list[Published]:
    """Return what goes by the rules, going by what is known of the remote."""
    newest: dict[str, Oid] = {}
    rows = [(task, used) for task, _number, used in remote.index.tasks(refused=True)]
    for task, _ in rows:
        newest[task.key] = task.record
    times = sorted((each.seconds for each in remote.index.publications()), reverse=True)
    since = now - rules.days * DAY
    if rules.builds and times:
        since = min(since, times[min(rules.builds, len(times)) - 1] - TOUCH_AFTER)
    gone = [task for task, used in rows if used < since and newest[task.key] != task.record]
    if rules.size is None:
        return gone
    out = {task.record for task in gone}
    rest = sorted(
        (
            (used, task)
            for task, used in rows
            if task.record not in out and newest[task.key] != task.record
        ),
        key=lambda pair: pair[0],
    )
    total = sum(task.size for task, _ in rows if task.record not in out)
    for _, task in rest:
        if total <= rules.size:
            break
        gone.append(task)
        total -= task.size
    return gone


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
    notes: tuple[str, ...] = ()
    holding: tuple[str, ...] = ()
    for attempt in range(ATTEMPTS):
        remote.refresh()
        tip = remote.tip
        gone = choose()
        records = {task.record for task in gone}
        kept = [task for task, *_ in remote.index.tasks(refused=True) if task.record not in records]
        if not gone:
            break
        workdirs = [
            task.workdir
            for task in kept
            if task.workdir and remote.store.objects.exists(task.workdir)
        ]
        workdirs = [oid for oid in workdirs if keeps_workdir is None or keeps_workdir(oid)]
        try:
            notes, holding = _rewrite(remote, tip, kept, records, workdirs)
            break
        except Changed:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
        except Declined as error:
            count = f"{len(gone)} result{'' if len(gone) == 1 else 's'}"
            raise with_what_stays(
                error, f"nothing was removed, {count} to remove still there"
            ) from error
    remote.refresh()
    return Shrunk(len(kept), tuple(gone), notes, holding)


def _rewrite(
    remote: GitRemote, tip: Oid | None, kept: list[Published], gone: set[Oid], workdirs: list[Oid]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Set both branches anew; return warnings, and the branches below `incoming` that hold content
    still.
    """
    texts, before = remote.published_texts()
    gone = gone | before
    with remote.scratch() as scratch:
        alternates = scratch / "objects" / "info" / "alternates"
        published = {task.workdir for task in kept if task.workdir}
        if not workdirs:  # nothing is read of the store, and git need not look whether it could be
            write_scratch(alternates, f"{remote.git}/objects\n")
        index_tree = _write_index(remote, scratch, texts, gone | (published - set(workdirs)))
        content = _content(scratch, kept, workdirs)
        index = make_commit(scratch, [], "collected", index_tree, int(time.time()))
        expected = {CONTENT: content_tip(remote, scratch), INDEX: tip}
        branches = Incoming(remote, scratch)
        incoming = branches.choose(int(time.time()))
        try:
            send(remote, scratch, incoming, content)
            announce(remote, scratch, {CONTENT: content, INDEX: index}, expected)
        except (Changed, Declined):
            branches.clear([incoming])
            raise
        except Unreachable as error:
            branches.clear([incoming])
            raise Unreachable(
                remote.name,
                error.words,
                hint=(
                    "what is kept can be told only to a server with protocol version 2; else"
                    " collect it as a folder"
                ),
            ) from error
        warning = branches.clear([incoming])
        return (warning,) if warning else (), tuple(branches.holding())


def _write_index(
    remote: GitRemote, scratch: Path, texts: dict[int, PublishedId], gone: set[Oid]
) -> Oid:
    """Write the tree of the new index: publications of which anything stays, and what of theirs is
    gone.
    """
    publications: list[Entry] = []
    signatures: list[Entry] = []
    named: set[Oid] = set()
    for number, each in sorted(texts.items()):
        try:
            tasks = decode_publication(remote.published_text(each).text).tasks
        except (StoreError, ValueError, IndexError):
            continue
        if all(task.record in gone for task in tasks):
            continue
        named |= {oid for task in tasks for oid in (task.record, task.workdir) if oid in gone}
        name = b"%08d" % number
        publications.append(Entry(name, MODE_FILE, each.text))
        if each.signature is not None:
            signatures.append(Entry(name, MODE_FILE, each.signature))
    with ObjectDatabase(scratch).writer() as writer:
        text = "".join(sorted(f"{oid.hex()}\n" for oid in named)).encode()
        top = [Entry(GONE.encode(), MODE_FILE, writer.add("blob", text))]
        for folder, entries in ((PUBLICATIONS, publications), (SIGNATURES, signatures)):
            if entries:
                top.append(Entry(folder.encode(), MODE_DIRECTORY, writer.add_tree(entries)))
        return writer.add_tree(top)


def _content(scratch: Path, kept: list[Published], workdirs: list[Oid]) -> Oid:
    commits = [
        *write_record_commits(scratch, dict.fromkeys(task.record for task in kept)),
        *workdirs,
    ]
    last = make_commit(scratch, commits[:PARENTS], "content")
    for start in range(PARENTS, len(commits), PARENTS):
        last = make_commit(scratch, [last, *commits[start : start + PARENTS]], "content")
    return last


def free(remote: GitRemote, *, prune: str = PRUNE) -> bool:
    """Free the room of what nothing holds any more, where the remote is a folder; tell whether it
    is.
    """
    folder = remote.transport.folder
    if folder is None:
        return False
    clear_stale_locks(folder)  # git's collection gives up at one
    try:
        run_git(folder, ["gc", "--quiet", f"--prune={prune}"])
    except (
        StoreError
    ):  # somebody else is at it, or was killed at it: git waits for twelve hours then
        return False
    return True
