"""Record BitBake's hash equivalences, and share them together with the outputs.

A hash equivalence server maps the hash of a task's output (`outhash`) to a `unihash`, which all
tasks with this output share. Each build that used a server records its part of that map as a
separate result, `bitbake:equivalence`. Its output is a text with one line per task: METHOD TASKHASH
OUTHASH UNIHASH. Remotes share it like any other result, and the next machine reports it to its own
server.

A line decides whether a task runs and which output replaces it. It therefore needs the same trust
as an output, and is fetched under the trust settings of its remote. BitBake builds the names of
stamps and archives from unihashes, and prints methods, so lines of any other form are not used.
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
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.records.refs import OutputRef, RecordRef, outputs_of
from prov.records.run import Run, author, empty_start, write_run
from prov.remote.publication import NO_KEY
from prov.sharing.caches import Caches, Wanted, fetch
from prov.sharing.results import Shareable
from prov.store.objects import EMPTY_TREE, MODE_FILE, Entry, Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.text import size_text
from prov.worktree.attributes import EMPTY, Pair

RECIPE, TASK = "bitbake", "equivalence"
KEY = TaskKey.of(RECIPE, TASK)
FILE = b"equivalence"
MOST = 10_000
"""Number of builds, the newest ones, whose equivalences are fetched from a remote."""
LIMIT = 16 << 20
"""Maximum size of one build's lines, in bytes."""
TOTAL = 64 << 20
"""Maximum size of all lines that one build reads, in bytes. The next build reads the rest."""
_LINE = re.compile(r"[A-Za-z_][\w.:-]{0,127}( [0-9a-f]{64}){3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Equivalences:
    """Lines of other builds, and notes about rejected lines."""

    by_build: dict[str, list[str]] = field(default_factory=dict)
    """Id of a build's text -> its lines, none if the text is rejected."""
    notes: list[str] = field(default_factory=list)


def lines_of(ran: Iterable[TaskRun]) -> list[str]:
    """Return the lines of a build: one for each task that used a server and did not fail."""
    return sorted(
        f"{run.method} {run.hashes.task_hash} {run.outhash} {run.hashes.unihash}"
        for run in ran
        if run.method and run.outhash and not run.failed
    )


def record_lines(store: Store, lines: Sequence[str]) -> Shareable:
    """Record the lines of a build, and return the result that remotes share."""
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
    """Return the recorded lines, except texts whose ids are in `reported`.

    The notes name malformed texts and texts larger than LIMIT.
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
                    f"hash equivalences {name[:12]}: ignored: larger than {size_text(LIMIT)}"
                )
                continue
            total += size
            if total > TOTAL:
                equivalences.notes.append(
                    f"hash equivalences: over {size_text(TOTAL)}: the next build reads the rest"
                )
                break
            equivalences.by_build[name] = _well_formed(
                store.objects.blob(blob), name, equivalences.notes
            )
        except StoreError:  # without a damaged text, tasks run that could be skipped
            continue
    return equivalences


def _text_of(store: Store, commit: Oid) -> Oid | None:
    """Return the id of an output's text, or None if it has none."""
    output = store.objects.commit(commit).tree
    if output == EMPTY_TREE:
        return None
    entry = store.objects.entry(output, f"{CONTENT.decode()}/{FILE.decode()}")
    return entry.oid if entry is not None else None


def _well_formed(text: bytes, name: str, notes: list[str]) -> list[str]:
    """Return the well-formed lines of a text, and note the number of malformed ones."""
    rows = text.decode("ascii", "replace").removesuffix("\n").split("\n")
    good = [row for row in rows if _LINE.fullmatch(row)]
    if len(good) < len(rows):
        notes.append(
            f"hash equivalences {name[:12]}: ignored {len(rows) - len(good)} of {len(rows)} lines:"
            " malformed"
        )
    return good


def fetch_lines(caches: Caches) -> None:
    """Fetch the texts that remotes have and this store lacks."""
    caches.refresh(whole=True)  # any publication may have one
    for opened in list(caches.opened()):
        missing = [
            Wanted(opened.name, task, NO_KEY)
            for task in opened.index.newest(RECIPE, MOST)
            if task.key == KEY
            and caches.store.refs.get(str(OutputRef(KEY, task.task_hash))) is None
        ]
        if not missing:
            continue
        # a record holds its lines twice: as inputs and as output
        limits = Limits(paths=100, size=2 * TOTAL)
        fetched = fetch(caches.store, opened.remote, caches.access, missing, limits=limits)
        caches.notes += fetched.notes
        if fetched.failed:
            caches.notes.append(fetched.failed)
    caches.store.objects.refresh()
