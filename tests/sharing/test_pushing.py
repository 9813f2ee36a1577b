"""Publish in the background: the pipe to the process, and the report of the next build."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.settings import Remote
from prov.sharing.pushing import (
    ENOUGH,
    QUIET,
    Publisher,
    _batches,
    _line,
    _parse,
    _remember_export,
    exported_folders,
    last_problem,
    last_warnings,
    reasons,
    status_file,
)
from prov.sharing.results import Shareable
from prov.store.repository import Store
from tests.records.samples import APP, COMPILE, INSTALL, static_key, task_hash

REMOTE = Remote("cache", "file:///nowhere/cache.git")
oids = st.binary(min_size=20, max_size=20)


def shareable(key: TaskKey) -> Shareable:
    """Return a result of a task."""
    return Shareable(key, task_hash(key), static_key(key))


# lines


@given(st.sampled_from([COMPILE, APP]), oids, oids)
def test_a_line_is_read_back(key: TaskKey, first: bytes, second: bytes) -> None:
    result = Shareable(key, TaskHash(first), StaticKey(second))
    assert _parse(_line(result).removesuffix("\n").split(" ")) == result


def through_pipe(folder: Path, data: bytes) -> list[tuple[list[Shareable], bool]]:
    """Return the batches for the given data in a pipe."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    try:
        return list(_batches(reader, folder, QUIET))
    finally:
        os.close(reader)


def sent(results: Sequence[Shareable]) -> bytes:
    """Return the data that a publisher sends for results."""
    return "".join(f"result {_line(result)}" for result in results).encode()


def test_results_are_published_when_the_build_ends(tmp_path: Path) -> None:
    results = [shareable(COMPILE), shareable(APP)]
    assert through_pipe(tmp_path, sent(results)) == [(results, True)]
    assert through_pipe(tmp_path, b"") == [([], True)]


def test_many_results_are_published_at_once(tmp_path: Path) -> None:
    results = [shareable(TaskKey.of("r", str(number))) for number in range(ENOUGH)]
    batches = through_pipe(tmp_path, sent(results))
    assert batches == [(results, False), ([], True)]


def test_the_last_batch_has_all_results_of_the_build(tmp_path: Path) -> None:
    whole = [shareable(COMPILE), shareable(INSTALL)]
    (tmp_path / "rest-1").write_text("".join(map(_line, whole)))
    data = sent([shareable(COMPILE)]) + b"rest rest-1\n"
    assert through_pipe(tmp_path, data) == [(whole, True)]
    assert not (tmp_path / "rest-1").exists()


def test_a_truncated_line_is_skipped(tmp_path: Path) -> None:
    data = sent([shareable(COMPILE)]) + b"result app:comp"
    assert through_pipe(tmp_path, data) == [([shareable(COMPILE)], True)]


def test_a_publisher_sends_results(store: Store) -> None:
    reader, writer = os.pipe()
    publisher = Publisher(store, REMOTE, writer)
    publisher.offer(COMPILE, task_hash(COMPILE), static_key(COMPILE))
    publisher.whole = [shareable(COMPILE), shareable(APP)]
    assert publisher.close() == ""
    batches = list(_batches(reader, status_file(store, "cache").parent, QUIET))
    os.close(reader)
    assert batches == [(publisher.whole, True)]


def test_a_dead_process_does_not_stop_the_build(store: Store) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    publisher = Publisher(store, REMOTE, writer)
    publisher.offer(COMPILE, task_hash(COMPILE), static_key(COMPILE))
    status_file(store, "cache").write_text("failed no route to host\n")
    assert publisher.close() == "no route to host"


# the outcome of the last push


@pytest.mark.parametrize(
    ("text", "problem", "warnings"),
    [
        (None, "", []),
        ("running\n", "", []),
        ("ok 3\n", "", []),
        ("ok 3\nwarning a\nwarning b c\n", "", ["a", "b c"]),
        ("failed no route to host\n", "no route to host", []),
    ],
)
def test_the_next_build_reports_the_outcome(
    store: Store, text: str | None, problem: str, warnings: list[str]
) -> None:
    if text is not None:
        status_file(store, "cache").write_text(text)
    assert last_problem(store, "cache") == problem
    assert last_warnings(store, "cache") == warnings


# why results are not shared


def test_reasons_are_grouped() -> None:
    withheld = {str(COMPILE): "it failed", str(APP): "it is gone", str(INSTALL): "it failed"}
    assert reasons(withheld) == [
        "zlib:compile, zlib:install: it failed",
        "app:compile: it is gone",
    ]
    assert reasons({}) == []


# exports


def test_folders_of_exports_are_stored(store: Store) -> None:
    assert exported_folders(store) == []
    for name in ("/a b", "/c\n", "/a b"):
        _remember_export(store, Path(name))
    assert exported_folders(store) == [Path("/a b"), Path("/c\n")]
