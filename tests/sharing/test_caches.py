"""The remotes of a store: searched in order, and reported once and skipped after a failure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from prov.errors import ProvError
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import Output, write_output
from prov.remote.index import Listed
from prov.remote.publication import Publication, Published
from prov.remote.settings import Remote
from prov.sharing.caches import Anywhere, Caches, why_it_failed
from prov.store.objects import MODE_EXECUTABLE, Entry
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.errors import Unreachable
from prov.worktree.attributes import Pair
from tests.records.samples import APP, COMPILE, oid, output_id, static_key
from tests.sharing.samples import published, record_run

FIRST, SECOND = (
    Remote(name, f"file:///nowhere/{name}.git", trust="none") for name in ("first", "second")
)


@pytest.fixture
def caches(store: Store) -> Caches:
    """Two remotes with empty indexes."""
    return Caches(store, [FIRST, SECOND], Access({}))


def know(caches: Caches, remote: Remote, tasks: Iterable[Published], *, problem: str = "") -> None:
    """Add a publication to the index of a remote."""
    index = next(each for each in caches.opened() if each.remote == remote).index
    with index.changing():
        number = index.last() + 1
        publication = Publication(number, tuple(tasks))
        index.add(Listed(number, oid(f"text {number}"), number, "", problem), publication)


# failures


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "remote cache: out of memory while receiving data"),
        (ProvError("odd"), "remote cache: odd"),
        (OSError(28, "No space left on device"), "remote cache: a file: No space left on device"),
        (
            OSError(13, "Permission denied", "/srv/x"),
            "remote cache: /srv/x: Permission denied",
        ),
        (OSError("odd"), "remote cache: odd"),
    ],
)
def test_why_a_remote_failed(error: BaseException, words: str) -> None:
    assert why_it_failed("cache", error) == words


def test_an_error_with_its_remote_is_unchanged() -> None:
    error = Unreachable("cache", "no route to host")
    assert why_it_failed("other", error) == str(error)


def test_a_remote_is_dropped_once(caches: Caches) -> None:
    assert not caches.incomplete
    for why in ("first: gone", "first: still gone"):
        caches.drop("first", why)
    assert caches.notes == ["first: gone; continuing without it"]
    assert caches.incomplete
    assert [remote.name for remote in caches.opened()] == ["second"]


def test_a_remote_that_does_not_answer_is_dropped(caches: Caches) -> None:
    caches.refresh()
    assert caches.failed == {"first", "second"}
    assert len(caches.notes) == 2
    assert list(caches.opened()) == []


# results


def test_the_first_remote_that_has_a_result_counts(caches: Caches) -> None:
    task, other = published("a"), published("b")
    know(caches, SECOND, [task, other])
    know(caches, FIRST, [task])
    assert caches.find(task.task_hash, "") == ("first", task)
    assert caches.find(other.task_hash, "") == ("second", other)
    assert caches.find(published("c").task_hash, "") is None


def test_rejected_results_are_not_found_again(caches: Caches) -> None:
    task = published("a")
    for remote in (FIRST, SECOND):
        know(caches, remote, [task])
    caches.refuse("first", task)
    assert caches.find(task.task_hash, "") == ("second", task)
    assert caches.find_static(task.static_key, "") == task
    caches.refuse("second", task)
    assert caches.find(task.task_hash, "") is None
    assert caches.find_static(task.static_key, "") is None


@pytest.mark.parametrize(
    ("place", "here", "is_found"),
    [("", "", True), ("", "b" * 40, True), ("a" * 40, "a" * 40, True), ("a" * 40, "b" * 40, False)],
)
def test_an_output_for_other_paths_is_not_used(
    caches: Caches, place: str, here: str, *, is_found: bool
) -> None:
    task = published("a", place=place)
    know(caches, FIRST, [task])
    assert (caches.find(task.task_hash, here) is not None) == is_found
    assert (caches.find_static(task.static_key, here) is not None) == is_found


def test_a_workdir_may_have_been_published_later(caches: Caches) -> None:
    task = published("a")
    later = replace(task, workdir=oid("workdir"), workdir_digest=bytes(32))
    other = replace(later, output=output_id("another"))
    know(caches, FIRST, [task])
    know(caches, FIRST, [other, later])
    assert caches.find(task.task_hash, "") == ("first", later)


def test_rejected_results_are_explained(caches: Caches) -> None:
    task = published("a")
    know(caches, FIRST, [task], problem="it is not signed")
    assert caches.find(task.task_hash, "") is None
    caches.explain([(COMPILE, task.task_hash), (APP, task.task_hash), (APP, oid("other"))])
    (note,) = caches.notes
    assert note.startswith("remote first: zlib:compile, app:compile: ")
    assert "it is not signed" in note


# unsigned outputs


@pytest.mark.parametrize(
    ("mode", "confined", "is_used"),
    [(MODE_EXECUTABLE, True, True), (MODE_EXECUTABLE, False, False), (0o100644, False, True)],
)
def test_unsigned_programs_need_a_sandbox(
    store: Store, caches: Caches, mode: int, *, confined: bool, is_used: bool
) -> None:
    with store.objects.writer() as writer:
        tree = writer.add_tree([Entry(b"tool", mode, writer.add("blob", b"x"))])
        output = write_output(writer, Output(Pair(tree, None)))
    caches.confined = confined
    assert caches.accepts(COMPILE, output) == is_used
    assert caches.accepts(COMPILE, output) == is_used
    assert len(caches.notes) == (0 if is_used else 1)  # noted only once


# in the store or at a remote


def anywhere(store: Store, caches: Caches) -> Anywhere:
    return Anywhere(Records(store), caches)


def test_stored_results_come_first(store: Store, caches: Caches) -> None:
    result, ids = record_run(store)
    there = replace(published("a"), task_hash=result.task_hash)
    know(caches, FIRST, [there])
    known = anywhere(store, caches)
    assert known.output(COMPILE, result.task_hash) == ids.output
    assert not known.away(COMPILE, result.task_hash)
    assert known.last_run(COMPILE, result.task_hash) == (1, ids.commit)
    assert known.published(COMPILE, result.task_hash) == ("first", there)


def test_results_of_a_remote_are_away(store: Store, caches: Caches) -> None:
    task = published("a")
    know(caches, FIRST, [task])
    known = anywhere(store, caches)
    assert known.output(COMPILE, task.task_hash) == task.output
    assert known.away(COMPILE, task.task_hash)
    assert known.static_output(COMPILE, task.static_key) == task.output
    assert known.static_away(COMPILE, task.static_key) == task.task_hash
    assert not known.workdir_away(COMPILE, task.task_hash)
    assert known.last_run(COMPILE, task.task_hash) == (0, None)


def test_missing_results(store: Store, caches: Caches) -> None:
    known = anywhere(store, caches)
    assert known.output(COMPILE, published("a").task_hash) is None
    assert not known.away(COMPILE, published("a").task_hash)
    assert known.static_output(COMPILE, static_key("a")) is None
    assert known.static_away(COMPILE, static_key("a")) is None


def test_a_result_of_a_different_task_is_not_used(store: Store, caches: Caches) -> None:
    task = published("a", key=TaskKey("evil:compile"))
    know(caches, FIRST, [task])
    known = anywhere(store, caches)
    assert known.output(COMPILE, task.task_hash) is None
    assert known.static_output(COMPILE, task.static_key) is None
    assert known.static_away(COMPILE, task.static_key) is None
    assert not known.away(COMPILE, task.task_hash)


def test_a_shared_workdir_is_away(store: Store, caches: Caches) -> None:
    task = replace(published("a"), workdir=oid("w"), workdir_digest=bytes(32))
    know(caches, FIRST, [task])
    assert anywhere(store, caches).workdir_away(COMPILE, task.task_hash)
