"""An action: what runs at a server. It imports nothing that needs gRPC.

The action starts in its input root:

| path | content |
|---|---|
| `start.py` | the program: makes `helper` importable, and calls `main` |
| `helper/` | prov and its libraries |
| `objects/` | the order's objects, see `prov.reapi.folders`; missing in the check of a server |
| `tools/ID` | the content of each blob of the host tools |
| `order` | the id of the order's commit, and the number of jobs; missing in the check |

It leaves in `result/`:

| path | content |
|---|---|
| `ID` | header and content of each new object of the result |
| `commit` | the id of the result's commit, which contains an unsigned receipt |
| `problem` | instead, why the task could not run here |
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prov.errors import ProvError, StoreError
from prov.farm.order import encode, read_order, write_result
from prov.farm.perform import perform_order, problem_of
from prov.processes import settle_process
from prov.store.git import git_program
from prov.store.objects import Entry, Oid
from prov.store.odb import ObjectDatabase, ObjectWriter
from prov.store.repository import Store
from prov.tasks.sandbox import bubblewrap
from prov.tasks.toolchain import Toolchains
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout_new
from prov.worktree.placer import PrivatePlacer

PROGRAM, HELPER, OBJECTS, TOOLS = "start.py", "helper", "objects", "tools"
ORDER, RESULT = "order", "result"
COMMIT, PROBLEM = "commit", "problem"
START = f"""\
import sys
sys.path.insert(0, {HELPER!r})
sys.dont_write_bytecode = True
from prov.reapi.action import main
main()
"""
"""The text of the program."""
_LONGEST_HEADER = 32
CHUNK = 1 << 20


def main() -> None:
    """Run the action in the current folder."""
    settle_process()
    top = Path.cwd()
    result = top / RESULT
    result.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="prov-", dir=top) as scratch:
            _perform(top, Path(scratch), result)
    except (ProvError, OSError) as error:
        (result / PROBLEM).write_text(problem_of(error), errors="replace")


def _perform(top: Path, scratch: Path, result: Path) -> None:
    program = bubblewrap("bwrap")
    git_program()
    if not (top / ORDER).exists():
        return
    assert program is not None
    name, jobs = (top / ORDER).read_text().split()
    store = Store.create(scratch / "store")
    with store.objects.writer() as writer:
        given = {_add(writer, path) for path in _files(top / OBJECTS)}
    store.objects.refresh()
    order = read_order(store.objects, store.objects.commit(bytes.fromhex(name)).tree)
    _place_tools(store, order.tools, top / TOOLS)
    place = ActionPlace(
        store=store,
        sandbox=program,
        work=scratch / "work",
        jobs=int(jobs),
    )
    parts, receipt = perform_order(place, name, order, f"-j{jobs}" if jobs != "1" else "")
    with store.objects.writer() as writer:
        commit = write_result(writer, writer.add_tree(parts), encode(receipt))
    store.objects.refresh()
    _send(store, commit, given, result)


@dataclass(frozen=True, slots=True)
class ActionPlace:
    """The place of an action; see `prov.farm.perform.Workplace`."""

    store: Store
    sandbox: str
    work: Path
    jobs: int
    offers_network: bool = False


@dataclass(frozen=True, slots=True)
class _ToolReader:
    """Reads trees from the store, and blobs from plain files."""

    objects: ObjectDatabase
    folder: Path

    def tree(self, oid: Oid) -> list[Entry]:
        return self.objects.tree(oid)

    def blob(self, oid: Oid) -> bytes:
        return (self.folder / oid.hex()).read_bytes()

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        with (self.folder / oid.hex()).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk


def _place_tools(store: Store, tree: Oid, folder: Path) -> None:
    """Place the host tools where the store expects them, with the modes and mtimes of a pool.

    They are copies: the server's own files may be in use by other actions.
    """
    reader = _ToolReader(store.objects, folder)
    target = Toolchains(store, "").folder / tree.hex()
    target.parent.mkdir(parents=True, exist_ok=True)
    placer = PrivatePlacer(reader, sealed=True)
    checkout_new(reader, target, Pair(tree, None), placer=placer)


def _files(folder: Path) -> Iterator[Path]:
    for path, _folders, names in os.walk(folder):
        yield from (Path(path, name) for name in names)


def _add(writer: ObjectWriter, path: Path) -> Oid:
    """Add an object to the store; return its id. Raises StoreError if the file differs."""
    oid = bytes.fromhex(path.name)
    with path.open("rb") as stream:
        head, _, _rest = stream.read(_LONGEST_HEADER).partition(b"\0")
        kind, _, size = head.partition(b" ")
        stream.seek(len(head) + 1)
        if kind == b"blob":
            is_right = writer.add_blob_stream(oid, int(size), stream)
        else:
            assert kind in (b"tree", b"commit")
            is_right = writer.add("tree" if kind == b"tree" else "commit", stream.read()) == oid
    if not is_right:
        raise StoreError(f"the server changed the object {path.name}")
    return oid


def _send(store: Store, commit: Oid, given: set[Oid], result: Path) -> None:
    """Write the objects of a result that the order does not contain."""
    objects = store.objects
    pending, sent = [commit], set(given)
    while pending:
        oid = pending.pop()
        if oid in sent:
            continue
        sent.add(oid)
        kind, size, chunks = objects.stream(oid)
        with (result / oid.hex()).open("wb") as stream:
            stream.write(b"%s %d\0" % (kind.encode(), size))
            stream.writelines(chunks)
        if kind == "commit":
            pending.append(objects.commit(oid).tree)
        elif kind == "tree":
            pending += [entry.oid for entry in objects.tree(oid)]
    (result / COMMIT).write_text(commit.hex())
