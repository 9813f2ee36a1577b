"""Which tasks gave the same as others: what BitBake's hash equivalence server knows, travelling
with the outputs.

A server knows by which hash of an output (`outhash`) a task is told to be another's equal, and
under which name (`unihash`) both are known. Each build that used one leaves what it came to as a
result of its own, `bitbake:equivalence`, whose output is a text of a line per task: METHOD TASKHASH
OUTHASH UNIHASH. It is shared as any result is; the next machine's own server is told, and so
agrees.

A line decides whether a task runs and whose output is used in its place, so that it counts as much
as an output does: it is fetched as one, under the trust of its remote. BitBake makes names of
stamps and archives of a unihash, and prints a method: lines of any other form are not used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prov.bitbake.builds import Ran
from prov.errors import StoreError
from prov.intake.wellformed import Limits
from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.records.refs import RECORDS, OutputRef, RunRef
from prov.records.run import Run, author, empty_start, write_run
from prov.sharing.caches import Caches, Wanted, fetch
from prov.sharing.results import NO_KEY, Shareable
from prov.store.objects import EMPTY_TREE, MODE_FILE, Entry
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.text import size_text
from prov.worktree.attributes import EMPTY, Pair

RECIPE, TASK = "bitbake", "equivalence"
KEY = f"{RECIPE}:{TASK}"
FILE = b"equivalence"
MOST = 10_000
"""So many builds' equivalences are looked at in a remote, the last ones."""
LIMIT = 16 << 20
"""Bytes that the lines of one build may have."""
TOTAL = 64 << 20
"""Bytes of lines that one build takes up; the next one takes up more."""
_LINE = re.compile(r"[A-Za-z_][\w.:-]{0,127}( [0-9a-f]{64}){3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of other builds, and what the user should know of those that are not used."""

    by_build: dict[str, list[str]] = field(default_factory=dict)
    """The id of a build's text -> its lines; none of a text that is not used."""
    notes: list[str] = field(default_factory=list)


def lines_of(ran: Iterable[Ran]) -> list[str]:
    """Return what a build's tasks are known as, of those that asked a server."""
    return sorted(
        f"{each.method} {each.task_hash} {each.outhash} {each.unihash}"
        for each in ran
        if each.method and each.outhash and not each.failed
    )


def record_lines(store: Store, lines: Sequence[str]) -> Shareable:
    """Keep what a build came to; return the result under which it is shared."""
    text = "".join(f"{line}\n" for line in lines).encode()
    with store.objects.writer() as writer:
        held = Pair(writer.add_tree([Entry(FILE, MODE_FILE, writer.add("blob", text))]), None)
        inputs = writer.add_tree([Entry(FILE, MODE_FILE, writer.add("blob", text))])
        run = Run(
            key=TaskKey(KEY),
            task_hash=TaskHash(inputs),
            start=empty_start(writer),
            after=EMPTY,
            output=Output(held),
            log=b"",
            environment={},
            facts={"result": "ok"},
        )
        recorded = write_run(writer, run, author(time.time()))
        record = writer.commit(recorded.commit).parents[1]
        writer.finish()
    name = (
        f"{RECORDS}{RunRef(TaskKey(KEY), TaskHash(inputs), 1).prefix.removeprefix('refs/tags/')}/1"
    )
    if store.refs.get(name) is None:
        store.refs.update(
            RefUpdate(name, record),
            RefUpdate(str(OutputRef(TaskKey(KEY), TaskHash(inputs))), recorded.output_commit),
        )
    return Shareable(TaskKey(KEY), TaskHash(inputs))


def read_lines(store: Store, known: set[str]) -> Lines:
    """Return what is kept here, but for texts whose ids are `known`.

    What is malformed or too large is named.
    """
    found, total = Lines(), 0
    for commit in store.refs.list(str(OutputRef(TaskKey(KEY), TaskHash(b"")))).values():
        try:
            output = store.objects.commit(commit).tree
            entry = (
                store.objects.entry(output, f"content/{FILE.decode()}")
                if output != EMPTY_TREE
                else None
            )
            if entry is None or entry.oid.hex() in known or entry.oid.hex() in found.by_build:
                continue
            name, size = entry.oid.hex(), store.objects.blob_size(entry.oid)
            if size > LIMIT:
                found.by_build[name] = []
                found.notes.append(
                    f"hash equivalences {name[:12]} are not used: larger than {size_text(LIMIT)}"
                )
                continue
            total += size
            if total > TOTAL:
                found.notes.append("more hash equivalences are left for the next build")
                break
            found.by_build[name] = _checked(store.objects.blob(entry.oid), name, found.notes)
        except StoreError:  # what is damaged is of no use, and no harm
            continue
    return found


def _checked(text: bytes, name: str, notes: list[str]) -> list[str]:
    """Return the lines of a text that are as they should be, and note the others."""
    rows = text.decode("ascii", "replace").removesuffix("\n").split("\n")
    good = [row for row in rows if _LINE.fullmatch(row)]
    if len(good) < len(rows):
        notes.append(
            f"hash equivalences {name[:12]}: {len(rows) - len(good)} of {len(rows)} lines are"
            " malformed"
        )
    return good


def fetch_lines(caches: Caches) -> None:
    """Fetch what remotes have and this store has not."""
    for opened in list(caches.opened()):
        wanted = [
            Wanted(opened.name, task, StaticKey(NO_KEY))
            for task in opened.index.newest(RECIPE, MOST)
            if task.key == KEY
            and caches.store.refs.get(str(OutputRef(TaskKey(KEY), task.task_hash))) is None
        ]
        if not wanted:
            continue
        # a record has its lines twice, as what went in and as what came out
        got = fetch(
            caches.store,
            opened.remote,
            caches.access,
            wanted,
            limits=Limits(paths=100, size=2 * TOTAL),
        )
        caches.notes += got.notes + ([got.failed] if got.failed else [])
    caches.store.objects.refresh()
