"""Hash equivalences of BitBake's tasks, recorded and shared with the outputs.

A hash equivalence server maps the hash of a task's output (`outhash`) to the name (`unihash`) that
all tasks with this output share. Each build that used a server records its part of that map as a
result of its own, `bitbake:equivalence`, whose output is a text of a line per task: METHOD TASKHASH
OUTHASH UNIHASH. It is shared as any result is, and reported to the server of the next machine.

A line decides whether a task runs and whose output is used in its place, so that it counts as much
as an output does: it is fetched as one, under the trust of its remote. BitBake makes names of
stamps and archives of a unihash, and prints a method: lines of any other form are not used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prov.bitbake.build_record import TaskRun
from prov.errors import StoreError
from prov.intake.wellformed import Limits
from prov.records.entries import CONTENT
from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.records.refs import OutputRef, RecordRef, outputs_of
from prov.records.run import Run, author, empty_start, write_run
from prov.sharing.caches import Caches, Wanted, fetch
from prov.sharing.results import NO_KEY, Shareable
from prov.store.objects import EMPTY_TREE, MODE_FILE, Entry, Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.text import size_text
from prov.worktree.attributes import EMPTY, Pair

RECIPE, TASK = "bitbake", "equivalence"
KEY = TaskKey.of(RECIPE, TASK)
FILE = b"equivalence"
MOST = 10_000
"""So many builds' equivalences are looked at in a remote, the last ones."""
LIMIT = 16 << 20
"""Bytes that the lines of one build may have."""
TOTAL = 64 << 20
"""Bytes of lines that one build takes up; the next one takes up more."""
_LINE = re.compile(r"[A-Za-z_][\w.:-]{0,127}( [0-9a-f]{64}){3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Equivalences:
    """Lines of other builds, and notes about those that are not used."""

    by_build: dict[str, list[str]] = field(default_factory=dict)
    """The id of a build's text -> its lines; none of a text that is not used."""
    notes: list[str] = field(default_factory=list)


def lines_of(ran: Iterable[TaskRun]) -> list[str]:
    """Return the lines of a build: those of its tasks that asked a server."""
    return sorted(
        f"{run.method} {run.hashes.task_hash} {run.outhash} {run.hashes.unihash}"
        for run in ran
        if run.method and run.outhash and not run.failed
    )


def record_lines(store: Store, lines: Sequence[str]) -> Shareable:
    """Record the lines of a build; return the result under which they are shared."""
    text = "".join(f"{line}\n" for line in lines).encode()
    with store.objects.writer() as writer:
        tree = writer.add_tree([Entry(FILE, MODE_FILE, writer.add("blob", text))])
        task_hash = TaskHash(tree)
        run = Run(
            key=KEY,
            task_hash=task_hash,
            start=empty_start(writer),
            after=EMPTY,
            output=Output(Pair(tree, None)),
            log=b"",
            environment={},
            facts={"result": "ok"},
        )
        recorded = write_run(writer, run, author(time.time()))
        writer.finish()
    name = str(RecordRef(KEY, task_hash, 1))
    if store.refs.get(name) is None:
        store.refs.update(
            RefUpdate(name, recorded.record),
            RefUpdate(str(OutputRef(KEY, task_hash)), recorded.output_commit),
        )
    return Shareable(KEY, task_hash)


def read_lines(store: Store, reported: set[str]) -> Equivalences:
    """Return the recorded lines, without texts whose ids are in `reported`.

    Texts that are malformed or too large are named in the notes.
    """
    equivalences, total = Equivalences(), 0
    for commit in store.refs.list(outputs_of(KEY)).values():
        try:
            blob = _text_of(store, commit)
            if blob is None or blob.hex() in reported or blob.hex() in equivalences.by_build:
                continue
            name, size = blob.hex(), store.objects.blob_size(blob)
            if size > LIMIT:
                equivalences.by_build[name] = []
                equivalences.notes.append(
                    f"hash equivalences {name[:12]} are not used: larger than {size_text(LIMIT)}"
                )
                continue
            total += size
            if total > TOTAL:
                equivalences.notes.append("more hash equivalences are left for the next build")
                break
            equivalences.by_build[name] = _well_formed(
                store.objects.blob(blob), name, equivalences.notes
            )
        except StoreError:  # a damaged text is of no use, and no harm
            continue
    return equivalences


def _text_of(store: Store, commit: Oid) -> Oid | None:
    """Return the id of the text in an output."""
    output = store.objects.commit(commit).tree
    if output == EMPTY_TREE:
        return None
    entry = store.objects.entry(output, f"{CONTENT.decode()}/{FILE.decode()}")
    return entry.oid if entry is not None else None


def _well_formed(text: bytes, name: str, notes: list[str]) -> list[str]:
    """Return the well-formed lines of a text, and note how many there are of others."""
    rows = text.decode("ascii", "replace").removesuffix("\n").split("\n")
    good = [row for row in rows if _LINE.fullmatch(row)]
    if len(good) < len(rows):
        notes.append(
            f"hash equivalences {name[:12]}: {len(rows) - len(good)} of {len(rows)} lines are"
            " malformed"
        )
    return good


def fetch_lines(caches: Caches) -> None:
    """Fetch the texts that remotes have and this store has not."""
    for opened in list(caches.opened()):
        missing = [
            Wanted(opened.name, task, StaticKey(NO_KEY))
            for task in opened.index.newest(RECIPE, MOST)
            if task.key == KEY
            and caches.store.refs.get(str(OutputRef(KEY, task.task_hash))) is None
        ]
        if not missing:
            continue
        # a record has its lines twice, as what went in and as what came out
        limits = Limits(paths=100, size=2 * TOTAL)
        fetched = fetch(caches.store, opened.remote, caches.access, missing, limits=limits)
        caches.notes += fetched.notes
        if fetched.failed:
            caches.notes.append(fetched.failed)
    caches.store.objects.refresh()
