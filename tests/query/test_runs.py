"""Rows of runs: what the records state, and records that cannot be read."""

from __future__ import annotations

import pytest

from prov.query.answer import answer
from prov.query.runs import RunLine, number_in, plain, storable
from prov.records.entries import FACTS
from prov.records.record import read_run_record
from prov.records.refs import TAGS
from prov.store.objects import MODE_FILE, Commit, Entry, Identity, object_id
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.query.stores import fresh, kept, value

HASH = "ab" * 20
OID = "cd" * 20


def test_a_row_has_what_the_record_states(store: Store) -> None:
    rows = answer(
        store,
        "select tag, task_hash, output, seconds, host, workdir_commit, record_commit from runs",
    ).rows
    for tag, task_hash, output, seconds, host, commit, record_commit in rows[::17]:
        oid = store.refs.get(f"{TAGS}{tag!s}")
        assert oid is not None and oid.hex() == commit
        assert store.objects.commit(oid).parents[1].hex() == record_commit
        record = read_run_record(store.objects, oid)
        facts = record.facts(store.objects)
        assert record.task_hash is not None and record.task_hash.hex() == task_hash
        assert (record.output.hex() if record.output else None) == output
        assert (facts["seconds"], facts["host"]) == (f"{float(seconds or 0):.3f}", host)


def test_failed_runs_have_no_output(store: Store) -> None:
    assert value(store, "select count(*) from runs where failed != (output is null)") == 0


@pytest.mark.parametrize("parents", [0, 2])
def test_an_unreadable_record_has_a_row_with_its_problem(store: Store, parents: int) -> None:
    by = Identity("prov", "prov@localhost", 7)
    lost = [b"\1" * 20, b"\2" * 20]
    with store.objects.writer() as writer:
        tree = writer.add_tree([])
        commit = writer.add_commit(Commit(tree, tuple(lost[:parents]), by, ""))
    store.refs.update(RefUpdate(f"{TAGS}odd/go/{HASH}/1", commit, None))
    row = answer(store, "select tag, ended, seconds, problem from runs where recipe = 'odd'").rows
    assert row == [(f"odd/go/{HASH}/1", 7, None, "its record is missing or malformed")]
    assert value(store, "select count(*) from runs") == 301
    assert kept(store) == {name: rows for name, rows in fresh(store).items() if name in kept(store)}


def test_a_restored_record_is_read(store: Store) -> None:
    by = Identity("prov", "prov@localhost", 7)
    with store.objects.writer() as writer:
        tree = writer.add_tree([Entry(FACTS, MODE_FILE, writer.add("blob", b"host here\n"))])
        record = Commit(tree, (), by, "record\n")
        lost = object_id("commit", record.encode())
        commit = writer.add_commit(Commit(tree, (lost, lost), by, ""))
    store.refs.update(RefUpdate(f"{TAGS}odd/go/{HASH}/1", commit, None))
    query = "select host, problem is null from runs where recipe = 'odd'"
    assert answer(store, query).rows == [(None, 0)]
    with store.objects.writer() as writer:
        assert writer.add_commit(record) == lost
    assert answer(store, query).rows == [("here", 1)]


def test_other_tags_are_not_runs(store: Store) -> None:
    oid = next(iter(store.refs.list(TAGS).values()))
    store.refs.update(RefUpdate(f"{TAGS}v1", oid, None))
    store.refs.update(RefUpdate(f"{TAGS}outside/x86/part00/unpack/1", oid, None))
    assert value(store, "select count(*) from runs") == 300


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        (f"{OID} refs/tags/a/b/{HASH}/1", f"a/b/{HASH}/1"),
        (f"{OID} refs/tags/failed/a/b/{HASH}/2", f"failed/a/b/{HASH}/2"),
        (f"{OID} refs/prov/record/a/b/{HASH}/3", f"record/a/b/{HASH}/3"),
        (f"{OID} refs/tags/outside/arch/a/b/1", None),
        (f"{OID} refs/tags/v1", None),
        (f"{OID} refs/tags/\u00e9/b/{HASH}/1", None),
        (f"{OID[:-1]}x refs/tags/a/b/{HASH}/1", None),
        ("", None),
    ],
)
def test_parsed_lines(line: str, tag: str | None) -> None:
    parsed = RunLine.parse(line.encode())
    assert (parsed.tag if parsed else None) == tag


@pytest.mark.parametrize(
    ("text", "number"), [("1.5", 1.5), ("nan", None), ("inf", None), ("x", None), (None, None)]
)
def test_numbers_in_facts(text: str | None, number: float | None) -> None:
    assert number_in({} if text is None else {"n": text}, "n") == number


def test_integers_that_sqlite_can_store() -> None:
    assert [storable(number) for number in (1, -1, 1 << 63, None)] == [1, -1, None, None]


def test_texts_that_are_not_utf8() -> None:
    assert plain("a\udcff") == "a\\xff"
    assert plain(None) is None
