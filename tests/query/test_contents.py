"""Files of outputs and lists of reads: filled by the first query that names them."""

from __future__ import annotations

from contextlib import closing

from prov.query.answer import answer
from prov.query.schema import has_table
from prov.query.table_file import TableFile
from prov.reads.reads import Read, Reads
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output, read_pair
from prov.records.refs import RunRef
from prov.records.run import Run, author, empty_start, write_run
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair
from tests.query.stores import ALL_TABLES, fresh, kept, value

PATHS = """
with recursive paths (path, kind, id, bytes) as (
    select name, kind, id, bytes from files where tree = '{tree}'
    union all
    select path || '/' || name, files.kind, files.id, files.bytes
    from paths join files on files.tree = paths.id where paths.kind = 'folder')
select path, id, bytes from paths where kind != 'folder'
"""


def exists(store: Store, name: str) -> bool:
    with closing(TableFile(store).open()) as database:
        return has_table(database, name)


def test_the_tables_exist_after_a_query_that_names_them(store: Store) -> None:
    answer(store, "select * from outputs")
    assert not exists(store, "files") and not exists(store, "reads")
    answer(store, "select * from FILES limit 1")
    assert exists(store, "files") and not exists(store, "reads")
    answer(store, "select * from read_lists")
    assert exists(store, "reads") and not exists(store, "inputs")
    answer(store, "select * from edges")
    assert exists(store, "inputs")


def test_files_of_outputs(store: Store) -> None:
    rows = answer(store, "select output, content from outputs where content is not null").rows
    assert rows
    for output, tree in rows[::9]:
        pair = read_pair(store.objects, bytes.fromhex(str(output)))
        assert pair.tree.hex() == tree
        found = {row[0]: row[1:] for row in answer(store, PATHS.format(tree=tree)).rows}
        assert found == dict(listed(store, pair.tree, ""))


def listed(store: Store, tree: bytes, prefix: str) -> list[tuple[str, tuple[str, int]]]:
    rows: list[tuple[str, tuple[str, int]]] = []
    for entry in store.objects.tree(tree):
        path = f"{prefix}{entry.name.decode()}"
        if entry.mode == MODE_DIRECTORY:
            rows += listed(store, entry.oid, f"{path}/")
        else:
            rows.append((path, (entry.oid.hex(), store.objects.blob_size(entry.oid))))
    return rows


def add_run(store: Store, name: str, reads: bytes, files: dict[bytes, bytes]) -> str:
    """Record a run with a list of reads and files in its output; return its tag."""
    with store.objects.writer() as writer:
        entries = [Entry(path, MODE_FILE, writer.add("blob", data)) for path, data in files.items()]
        output = Output(Pair(writer.add_tree(entries), None))
        task_hash = TaskHash(writer.add_tree([]))
        key = TaskKey.of(name, "go")
        start = empty_start(writer)
        extra = {"reads": reads.decode()}
        run = Run(key, task_hash, start, EMPTY, output, b"", {}, {"result": "ok"}, extra=extra)
        ids = write_run(writer, run, author(9))
    ref = RunRef(key, task_hash, 1)
    store.refs.update(RefUpdate(str(ref), ids.commit, None))
    return ref.tag


def test_lists_of_reads(store: Store) -> None:
    rows = [Read("/a", "o"), Read("/b\udcff", "ox", "s", ("/bin/cc", "/bin/sh"))]
    text = Reads.of(rows, probes="complete").encode()
    tags = {add_run(store, name, text, {}) for name in ("one", "two")}
    query = (
        "select tag, path, kinds, state, programs from reads join runs using (run) order by 1, 2"
    )
    expected = [("/a", "o", "", ""), ("/b\\xff", "ox", "s", "/bin/cc\n/bin/sh")]
    assert answer(store, query).rows == [(tag, *row) for tag in sorted(tags) for row in expected]
    assert answer(store, "select opens, probes from read_lists").rows == [("complete", "complete")]


def test_an_invalid_list_has_no_rows(store: Store) -> None:
    add_run(store, "odd", b"no list", {})
    assert value(store, "select count(*) from reads") == 0
    assert value(store, "select count(*) from read_lists where opens is null") == 1


def test_names_are_as_on_disk(store: Store) -> None:
    add_run(store, "odd", b"", {b"%.git": b"1", b"\xff": b"22"})
    query = "select name, bytes from files where tree = (select content from outputs join runs"
    assert sorted(answer(store, f"{query} using (output) where recipe = 'odd')").rows) == [
        (".git", 1),
        ("\\xff", 2),
    ]


def test_unused_rows_are_deleted(store: Store) -> None:
    answer(store, ALL_TABLES)
    before = kept(store)
    tag = add_run(store, "odd", Reads.of([Read("/a", "o")]).encode(), {b"own": b"own"})
    assert kept(store) == fresh(store) != before
    store.refs.update(RefUpdate(f"refs/tags/{tag}", None))
    assert kept(store) == fresh(store) == before
