"""Answers of queries, and rejected queries."""

from __future__ import annotations

import pytest

from prov.errors import ProvError
from prov.query.answer import QueryError, answer, table_path
from prov.store.repository import Store


def test_columns_and_rows(store: Store) -> None:
    reply = answer(
        store, "select 1 as one, 'x' as text, null as none, 1.5, x'00ff' as b -- comment"
    )
    assert reply.columns == ("one", "text", "none", "1.5", "b")
    assert reply.rows == [(1, "x", None, 1.5, b"\x00\xff")]
    assert answer(store, "select 1 from runs where 0").rows == []
    assert answer(store, "values (1), (2)").rows == [(1,), (2,)]


def test_an_empty_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store.create(tmp_path_factory.mktemp("empty") / "store.git")
    for table in ("builds", "runs", "inputs", "edges", "outputs", "files", "reads", "labels"):
        assert answer(store, f"select * from {table}").rows == []


@pytest.mark.parametrize(
    "sql",
    [
        "delete from runs",
        "insert into runs select * from runs",
        "update builds set result = 'ok'",
        "create table t (x)",
        "create temp table t (x)",
        "drop table runs",
        "pragma journal_mode = wal",
        "pragma writable_schema = 1",
        "attach '/tmp/other.sqlite' as other",
        "vacuum",
        "vacuum into '/tmp/other.sqlite'",
        "commit",
        "begin",
        "reindex",
        "analyze",
    ],
)
def test_a_query_that_writes_is_rejected_in_one_line(store: Store, sql: str) -> None:
    with pytest.raises(QueryError) as raised:
        answer(store, sql)
    assert str(raised.value) == "the query is rejected: queries can only read"
    assert answer(store, "select count(*) from runs").rows == [(300,)]


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("selec 1", 'near "selec": syntax error', "prov query"),
        ("select nil from runs", "no such column: nil", "prov query"),
        ("select * from run", "no such table: run", "did you mean runs"),
        ("select 1; select 2", "one statement at a time", "prov query"),
        ("-- nothing", "returns no rows", "prov query"),
        ("select load_extension('x')", "not authorized", "prov query"),
        ("select cast(x'ff' as text)", "decode", "prov query"),
    ],
)
def test_invalid_queries(store: Store, sql: str, message: str, hint: str) -> None:
    with pytest.raises(ProvError) as raised:
        answer(store, sql)
    assert message in str(raised.value)
    assert hint in raised.value.hint


def test_read_only_pragmas_and_plans(store: Store) -> None:
    assert answer(store, "pragma table_info(runs)").rows[0][1] == "run"
    assert answer(store, "explain query plan select * from reads").rows


def test_the_path_is_that_of_the_file(store: Store) -> None:
    assert table_path(store) == store.cache / "tables.sqlite"
    assert table_path(store).is_file()
