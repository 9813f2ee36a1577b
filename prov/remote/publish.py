"""Publishing: records go up first, under a ref of their own, and become visible by one small change of the index.

However long the first takes, nobody waits for it and nobody is in its way. The second takes three refs and a moment;
who comes second there reads what the first said, and tries again. A push that is broken off has shown nothing: what it
sent is under `incoming`, and goes after a day.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.files import write_scratch
from prov.remote.bases import choose_bases, write_record_commits
from prov.remote.errors import RemoteError, Unreachable
from prov.remote.git_remote import CONTENT, INCOMING, INDEX, PUBLICATIONS, SIGNATURES, GitRemote
from prov.remote.publication import Publication, Published
from prov.remote.signature import sign
from prov.remote.transport import Changed, Stalled
from prov.store.git import run_git
from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Identity,
    Oid,
)
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore

ATTEMPTS = 40
"""How often the index is tried when others publish at the same time."""
TOUCH_AFTER = 86_400
"""Seconds after which a result that is taken up again is said to be of use still."""
LAST = "-last"
"""The end of the name of a second ref that a push makes while it is under way."""
LEFT_AFTER = 86_400
"""Seconds after which what a broken push sent is removed."""
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

    Raises Unreachable, and RemoteError when there is nothing to sign with where others will ask for it.
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
        incoming = f"{INCOMING}{seconds}-{secrets.token_hex(8)}"
        batch = None
        if new:
            batch = _send(remote, scratch, incoming, new, choose_bases(remote.index, new, holds), outcome)
        for attempt in range(ATTEMPTS):
            tip = remote.tip  # another process of this store may bring the index up to date at any time
            outcome.published = _new(remote, new, outcome)
            if not outcome.published and not touched:
                tidy(remote, scratch, [incoming])
                break
            publication = Publication(seconds, tuple(outcome.published), tuple(touched))
            try:
                _announce(remote, scratch, incoming, batch, publication, tip)
                break
            except Changed:
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
                remote.refresh()
    remote.refresh()
    return outcome


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


def _send(
    remote: GitRemote, scratch: Path, ref: str, tasks: Sequence[Published], bases: Sequence[Oid], outcome: Outcome
) -> Oid:
    """Push records, in as many parts as the limit asks for; return the commit that holds all of them."""
    bases = write_record_commits(scratch, bases)
    write_record_commits(scratch, (task.record for task in tasks))
    if bases:
        write_scratch(scratch / "shallow", "".join(sorted(f"{oid.hex()}\n" for oid in bases)))
    last: Oid | None = None
    pending = _parts(remote, scratch, list(tasks), bases)
    while pending:
        part = pending.pop(0)
        new = (oid for task in part for oid in (task.commit, task.workdir) if oid)
        parents = [*([last] if last else []), *bases, *new]
        commit = make_commit(scratch, parents, "content")
        try:
            send(remote, scratch, ref, commit)
        except Stalled:
            raise
        except Unreachable as error:
            if bases and _NOT_THERE in error.words:  # its content was deleted
                bases = []
                (scratch / "shallow").unlink(missing_ok=True)
                pending.insert(0, part)
                continue
            if len(part) == 1:
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

    Git asks the server which commits it has, and stops asking when each of those that it pushes descends from one that
    is there. Hence a second one, which descends only from what is asked for last.
    """
    updates = {ref: commit}
    tip = content_tip(remote, scratch)
    if tip is not None:
        updates[f"{ref}{LAST}"] = make_commit(scratch, [tip], "last")
    by_variable = remote.index.get("way") == "variable"
    remote.transport.push(scratch, updates, {}, negotiate=tip is not None, by_variable=by_variable)


def _parts(remote: GitRemote, scratch: Path, tasks: list[Published], bases: Sequence[Oid]) -> list[list[Published]]:
    """Return tasks in groups whose objects fit into one push each, as far as they can be divided."""
    if len(tasks) < 2:
        return [tasks]
    rows = [oid.hex() for task in tasks for oid in (task.commit, task.workdir) if oid]
    rows += [f"^{oid.hex()}" for oid in bases]
    command = ["rev-list", "--objects", "--disk-usage", "--stdin"]
    if int(run_git(scratch, command, data="\n".join(rows).encode() + b"\n")) <= remote.remote.limit:
        return [tasks]
    middle = len(tasks) // 2
    return _parts(remote, scratch, tasks[:middle], bases) + _parts(remote, scratch, tasks[middle:], bases)


def make_commit(
    repository: Path, parents: Sequence[Oid], message: str, tree: Oid = EMPTY_TREE, seconds: int = 0
) -> Oid:
    """Write a commit into a repository; without a tree, one without content."""
    by = Identity(CONSTANT_IDENTITY.name, CONSTANT_IDENTITY.mail, seconds)
    with ObjectDatabase(repository).writer() as writer:
        return writer.add_commit(Commit(tree, tuple(dict.fromkeys(parents)), by, f"{message}\n"))


# the index


def _announce(
    remote: GitRemote, scratch: Path, incoming: str, batch: Oid | None, publication: Publication, tip: Oid | None
) -> None:
    """Make what was sent a part of the remote: content, index, and the incoming ref gone, together.

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
    if batch is None:  # nothing is new, and what is there is of use still
        announce(remote, scratch, {INDEX: index}, {INDEX: tip})
        return
    before = content_tip(remote, scratch)
    content = make_commit(scratch, [*([before] if before else []), batch], "content")
    announce(remote, scratch, {CONTENT: content, INDEX: index}, {CONTENT: before, INDEX: tip}, [incoming])


def announce(
    remote: GitRemote,
    scratch: Path,
    updates: dict[str, Oid | None],
    expected: dict[str, Oid | None],
    done: Sequence[str] = (),
) -> None:
    """Change content and index at once; where a server can't, content first. Raises Changed when others were first."""
    try:
        remote.transport.push(scratch, updates, expected)
    except Unreachable as error:
        if "--atomic" not in error.words:
            raise
        for ref, oid in updates.items():  # in order
            remote.transport.push(scratch, {ref: oid}, {ref: expected[ref]})
    tidy(remote, scratch, done)


def remove_refs(remote: GitRemote, scratch: Path, refs: Sequence[str]) -> None:
    """Remove refs that are of no use any more; a server that allows no removal keeps them, and no harm is done."""
    with contextlib.suppress(Unreachable):
        remote.transport.push(scratch, dict.fromkeys(refs), {}) if refs else None


def tidy(remote: GitRemote, scratch: Path, done: Sequence[str]) -> None:
    """Remove the incoming refs of a push that is over, and of those that were broken off long ago."""
    try:
        refs = remote.transport.refs(scratch, f"{INCOMING}*")
    except Unreachable:  # what was to be done is done
        return
    old = time.time() - LEFT_AFTER
    stamps = {ref: ref.removeprefix(INCOMING).partition("-")[0] for ref in refs}
    left = [ref for ref, stamp in stamps.items() if stamp.isdigit() and int(stamp) < old]
    mine = [ref for ref in refs if ref.removesuffix(LAST) in done]
    remove_refs(remote, scratch, [*mine, *left])


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
            folders.setdefault(folder, []).append(Entry(name.encode(), MODE_FILE, writer.add("blob", content)))
        top = folders.pop("", [])
        below = [Entry(name.encode(), MODE_DIRECTORY, writer.add_tree(each)) for name, each in folders.items()]
        return writer.add_tree([*top, *below])
