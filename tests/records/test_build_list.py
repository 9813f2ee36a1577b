"""Tests of recorded builds: writing and reading task lists, and the history."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.records.build_list import (
    COMMANDS,
    LOOK_BACK,
    BuildList,
    Kept,
    Line,
    Span,
    decode_tasks,
    encode_tasks,
    record_build,
)
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import BUILDS
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Commit, Entry
from prov.store.repository import Store
from tests.records.samples import (
    APP,
    BY,
    COMPILE,
    INSTALL,
    inputs_of,
    oid,
    output_id,
    task_hash,
    tree_of,
)
from tests.records.test_keys import names

HASH = "0123456789abcdef0123456789abcdef01234567"
OUTPUT = "76543210fedcba9876543210fedcba9876543210"

oids = st.binary(min_size=20, max_size=20)
lines_of_zlib = st.builds(
    Line,
    names.map(lambda task: TaskKey.of("zlib", task)),
    oids.map(TaskHash),
    st.none() | oids.map(OutputId),
    st.integers(0, 10**6),
)


def line(key: TaskKey, text: str = "", *, run: int = 1) -> Line:
    """Return a task's line with a hash and an output derived from a text."""
    return Line(key, task_hash(f"{key}{text}"), output_id(f"{key}{text}"), run)


def record(
    store: Store,
    *lines: Line,
    happened: Mapping[TaskKey, str] | None = None,
    facts: Mapping[str, str] | None = None,
) -> BuildList:
    """Append a build to the history, read it back and return it."""
    return BuildList(store, record_build(store, lines, happened or {}, facts or {}, BY))


def forge(store: Store, texts: Mapping[str, bytes], *, tasks: bool = True) -> BuildList:
    """Write a build with arbitrary lists, as other programs might."""
    with store.objects.writer() as writer:
        entries = [
            Entry(name.encode(), MODE_FILE, writer.add("blob", text))
            for name, text in texts.items()
            if "/" not in name
        ]
        below = [
            Entry(name.partition("/")[2].encode(), MODE_FILE, writer.add("blob", text))
            for name, text in texts.items()
            if "/" in name
        ]
        if tasks:
            entries.append(Entry(b"tasks", MODE_DIRECTORY, writer.add_tree(below)))
        commit = writer.add_commit(Commit(writer.add_tree(entries), (), BY, "build of x: ok\n"))
    return BuildList(store, CommitId(commit))


# the list of one recipe


@given(st.lists(lines_of_zlib, max_size=6))
def test_a_list_is_read_back(lines: list[Line]) -> None:
    assert decode_tasks("zlib", encode_tasks(lines)) == lines


@pytest.mark.parametrize(
    ("text", "output", "run"),
    [
        (f"compile {HASH} {OUTPUT} 3\n", OutputId(bytes.fromhex(OUTPUT)), 3),
        (f"compile {HASH} - -\n", None, 0),
        (f"compile {HASH} {OUTPUT} -\n", OutputId(bytes.fromhex(OUTPUT)), 0),
        (f"compile {HASH} - 12\n", None, 12),
    ],
)
def test_format_of_a_line(text: str, output: OutputId | None, run: int) -> None:
    expected = Line(COMPILE, TaskHash(bytes.fromhex(HASH)), output, run)
    assert decode_tasks("zlib", text.encode()) == [expected]
    assert encode_tasks([expected]) == text.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"compile\n",
        f"compile {HASH} {OUTPUT}\n".encode(),
        f"compile {HASH} {OUTPUT} 3 4\n".encode(),
        f"compile  {HASH} {OUTPUT} 3\n".encode(),
        f"compile {HASH[1:]} {OUTPUT} 3\n".encode(),
        f"compile {HASH} {OUTPUT}0 3\n".encode(),
        f"compile {'x' * 40} {OUTPUT} 3\n".encode(),
        f"compile {HASH} {OUTPUT} three\n".encode(),
        b"\xff\n",
    ],
)
def test_an_invalid_list_is_rejected(data: bytes) -> None:
    with pytest.raises(StoreError, match="invalid task list of zlib"):
        decode_tasks("zlib", data)


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        lines = decode_tasks("zlib", data)
    except StoreError:
        return
    assert all(each.key.recipe == "zlib" for each in lines)


# a build


def test_a_build_is_read_back(store: Store) -> None:
    lines = [line(INSTALL, run=0), line(COMPILE), line(APP, run=7)]
    happened = {COMPILE: "ran", APP: "failed " + HASH}
    facts = {"targets": "app:compile zlib:install", "result": "failed", "seconds": "2.5"}
    timeline = [Span(COMPILE, 0.0, 1.25, 4096), Span(APP, 1.5, 1.0, 0)]
    commit = record_build(
        store,
        lines,
        happened,
        facts,
        BY,
        timeline=timeline,
        versions={"zlib": "1.3", "app": "2 beta"},
        reasons={COMPILE: "changed:\n  script"},
    )
    build = BuildList.latest(store)
    assert build is not None
    assert build.commit == commit
    assert build.recipes() == ["app", "zlib"]
    assert build.lines("zlib") == {each.key: each for each in lines[:2]}
    assert build.line(APP) == lines[2]
    assert build.happened() == happened
    assert build.facts() == facts
    assert build.seconds() == 2.5
    assert build.timeline() == timeline
    assert build.versions() == {"zlib": "1.3", "app": "2 beta"}
    assert build.reasons() == {COMPILE: "changed: / script"}


def test_lists_are_sorted(store: Store) -> None:
    lines = [line(COMPILE), line(INSTALL)]
    first = record(store, *lines, happened={COMPILE: "ran", INSTALL: "ran"})
    second = record(store, *reversed(lines), happened={INSTALL: "ran", COMPILE: "ran"})
    trees = {store.objects.commit(build.commit).tree for build in (first, second)}
    assert len(trees) == 1


def test_an_empty_build(store: Store) -> None:
    build = record(store)
    assert build.recipes() == []
    assert (build.line(COMPILE), build.lines("zlib")) == (None, {})
    assert (build.happened(), build.reasons(), build.versions()) == ({}, {}, {})
    assert (build.timeline(), build.facts(), build.seconds()) == ([], {}, 0.0)
    assert build.before() is None


def test_the_message_of_the_commit(store: Store) -> None:
    facts = {"targets": "app:compile", "result": "ok"}
    build = record(store, line(APP), facts=facts)
    commit = store.objects.commit(build.commit)
    assert (commit.message, commit.author) == ("build of app:compile: ok\n", BY)


def test_lists_of_particular_builders(store: Store) -> None:
    more = {"bitbake": {"zlib": b"do_compile\n"}, "layers": {"meta": b"x", "meta-y": b"y"}}
    commit = record_build(store, [line(COMPILE)], {}, {}, BY, more=more)
    tree = store.objects.commit(commit).tree
    for folder, files in more.items():
        for name, text in files.items():
            entry = store.objects.entry(tree, f"{folder}/{name}")
            assert entry is not None
            assert store.objects.blob(entry.oid) == text


def test_without_reasons_there_is_no_list(store: Store) -> None:
    tree = store.objects.commit(record(store).commit).tree
    names_of_lists = [entry.name for entry in store.objects.tree(tree)]
    assert names_of_lists == [b"build", b"happened", b"recipes", b"tasks", b"timeline"]


# lists written by other programs


def test_a_build_without_lists(store: Store) -> None:
    build = forge(store, {}, tasks=False)
    assert build.recipes() == []
    assert build.line(COMPILE) is None
    assert (build.facts(), build.timeline()) == ({}, [])


def test_an_invalid_task_list_is_named(store: Store) -> None:
    build = forge(store, {"tasks/zlib": b"compile\n", "tasks/app": b""})
    assert build.lines("app") == {}
    with pytest.raises(StoreError, match="list of zlib"):
        build.line(COMPILE)


@pytest.mark.parametrize("text", ["x", "zlib:compile 1 2", "zlib:compile a 2 3", "k 1 2 3.5"])
def test_an_invalid_timeline_is_rejected(store: Store, text: str) -> None:
    build = forge(store, {"timeline": f"{text}\n".encode()})
    with pytest.raises(StoreError, match=f"invalid timeline in build {build.commit.hex()}"):
        build.timeline()


@pytest.mark.parametrize("row", ["inf 1 0", "0 nan 0", "-inf 1 0"])
def test_times_that_are_not_finite_are_skipped(store: Store, row: str) -> None:
    build = forge(store, {"timeline": f"zlib:compile {row}\napp:compile 0 1 2\n".encode()})
    assert build.timeline() == [Span(APP, 0.0, 1.0, 2)]


@pytest.mark.parametrize(
    ("text", "seconds"), [("seconds 1.5\n", 1.5), ("seconds long\n", 0.0), ("result ok\n", 0.0)]
)
def test_seconds_of_a_build(store: Store, text: str, seconds: float) -> None:
    assert forge(store, {"build": text.encode()}).seconds() == seconds


def test_bytes_that_are_not_utf8_are_replaced(store: Store) -> None:
    build = forge(store, {"happened": b"zlib:compile ran\xff\n"})
    assert build.happened() == {COMPILE: "ran\ufffd"}


# the history


def test_builds_are_a_history(store: Store) -> None:
    assert BuildList.latest(store) is None
    first = record(store, line(COMPILE))
    second = record(store, line(COMPILE), line(APP))
    latest = BuildList.latest(store)
    assert latest is not None
    assert latest.commit == second.commit == store.refs.get(BUILDS)
    before = latest.before()
    assert before is not None
    assert before.commit == first.commit
    assert latest.before() is before
    assert before.before() is None


def test_the_newest_line_is_searched_for_in_builds_before(store: Store) -> None:
    record(store, line(COMPILE, "first"), line(APP))
    record(store, line(COMPILE, "second"))
    latest = record(store)
    assert latest.line(COMPILE) is None
    assert latest.newest_line(COMPILE) == line(COMPILE, "second")
    assert latest.newest_line(APP) == line(APP)
    assert latest.newest_line(INSTALL) is None


@pytest.mark.parametrize(("later", "is_found"), [(LOOK_BACK - 1, True), (LOOK_BACK, False)])
def test_the_search_ends(store: Store, *, later: int, is_found: bool) -> None:
    first = record(store, line(COMPILE))
    commit, tree = first.commit, store.objects.commit(forge(store, {}).commit).tree
    with store.objects.writer() as writer:
        for _ in range(later):
            commit = CommitId(writer.add_commit(Commit(tree, (commit,), BY, "build\n")))
    assert (BuildList(store, commit).newest_line(COMPILE) is not None) == is_found


@pytest.mark.parametrize(
    ("first", "second", "happened", "differing"),
    [
        ([COMPILE, APP], [COMPILE, APP], {}, set()),
        ([COMPILE], [COMPILE, INSTALL], {}, {"zlib"}),
        ([COMPILE], [COMPILE, APP], {}, {"app"}),
        ([COMPILE, APP], [COMPILE], {}, {"app"}),
        ([COMPILE, APP], [COMPILE, APP], {APP: "failed " + HASH}, {"app"}),
        ([COMPILE, APP], [COMPILE, APP], {APP: "ran"}, set()),
        ([], [], {COMPILE: "failed " + HASH}, {"zlib"}),
    ],
)
def test_recipes_that_differ(
    store: Store,
    first: list[TaskKey],
    second: list[TaskKey],
    happened: dict[TaskKey, str],
    differing: set[str],
) -> None:
    old = record(store, *map(line, first))
    new = record(store, *map(line, second), happened=happened)
    assert old.differing(new) == differing


def test_a_recipe_with_a_changed_output_differs(store: Store) -> None:
    old, new = record(store, line(COMPILE)), record(store, line(COMPILE, "changed"))
    assert old.differing(new) == {"zlib"}
    assert dict(old.listed()).keys() == dict(new.listed()).keys() == {"zlib"}
    assert old.listed() != new.listed()


# the last state of a task


def test_inputs_of_a_task_as_last_built(store: Store) -> None:
    edges = {
        "after": {"configure": HASH, "unpack": OUTPUT},
        "needs": {"app:compile": HASH},
        "from": {"zlib:install": HASH},
    }
    with store.objects.writer() as writer:
        inputs = inputs_of(writer, {"script": "make\n", "task": "task zlib:compile\n"}, edges)
        script = writer.add("blob", b"make\n")
        task = writer.add("blob", b"task zlib:compile\n")
    build = record(store, Line(COMPILE, inputs, output_id("zlib"), 1))
    assert build.kept(COMPILE) == Kept(
        inputs,
        output_id("zlib"),
        frozenset({(b"script", script), (b"task", task)}),
        {"configure": HASH, "unpack": OUTPUT},
    )


def test_a_task_without_predecessors(store: Store) -> None:
    with store.objects.writer() as writer:
        inputs = TaskHash(tree_of(writer, {"script": "make\n"}))
    kept = record(store, Line(COMPILE, inputs, output_id("zlib"), 1)).kept(COMPILE)
    assert kept is not None
    assert kept.after == {}


def test_a_task_without_stored_inputs(store: Store) -> None:
    with store.objects.writer() as writer:
        inputs = TaskHash(tree_of(writer, {"script": "make\n"}))
    without_output = Line(COMPILE, inputs, None, 1)
    without_inputs = Line(APP, task_hash("gone"), output_id("app"), 1)
    build = record(store, without_output, without_inputs)
    assert build.kept(COMPILE) is None
    assert build.kept(APP) is None
    assert build.kept(INSTALL) is None


def test_a_list_is_read_once(store: Store) -> None:
    build = record(store, line(COMPILE))
    assert build.lines("zlib") is build.lines("zlib")
    assert oid("zlib") not in dict(build.listed()).values()


def test_builds_of_commands_do_not_hide_those_of_tasks(store: Store) -> None:
    built = record(store, line(COMPILE))
    for _ in range(LOOK_BACK + 5):
        facts = {"builder": COMMANDS}
        record_build(store, [line(APP)], {}, facts, BY)
    latest, of_tasks = BuildList.latest(store), BuildList.latest_of_tasks(store)
    assert latest is not None
    assert latest.is_of_commands
    assert of_tasks is not None
    assert of_tasks.commit == built.commit
    assert latest.newest_line(COMPILE) == line(COMPILE)
