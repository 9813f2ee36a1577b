"""Versions of a file across builds, and the version that introduced each line."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import NameUnknown
from prov.history.file_names import find_file
from prov.history.file_versions import blame_lines, built_run, versions
from prov.records.keys import TaskKey
from prov.store.repository import Store
from tests.history.recorded import Recorded, Recorder

KEY = TaskKey("app:make")


def made(recorder: Recorder, text: str, name: str = "app") -> Recorded:
    return recorder.run(KEY, {"script": f"{text}{name}"}, {name: text})


@pytest.mark.parametrize("part", ["output", "workdir"])
def test_versions_are_the_builds_that_changed_a_file(
    store: Store, recorder: Recorder, part: str
) -> None:
    one, two, none = made(recorder, "1"), made(recorder, "2"), made(recorder, "1", "other")
    builds = [recorder.build(run) for run in (one, one, two, none, two, two)]
    file = find_file(store, f"app:make@{part}/app")
    found = list(versions(store, file))
    assert [version.build for version in found] == [builds[n].commit for n in (4, 3, 2, 0)]
    assert [version.node is not None for version in found] == [True, False, True, True]
    earlier = list(versions(store, file, until="latest~3"))
    assert [version.build for version in earlier] == [builds[n].commit for n in (2, 0)]


def test_the_run_of_the_last_build(store: Store, recorder: Recorder) -> None:
    run = made(recorder, "1")
    recorder.build(run)
    recorder.build()
    made(recorder, "2")
    assert built_run(store, KEY).commit == run.commit
    with pytest.raises(NameUnknown, match="has no task x:y"):
        built_run(store, TaskKey("x:y"))


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        ([], []),
        ([""], []),
        (["a\nb\n"], [0, 0]),
        (["a\nb\n", "a\nx\nb\n"], [0, 1, 0]),
        (["a\n", "b\n", "a\n"], [2]),
        (["a", "a\n"], [1]),
        (["a\n", "a\n", "a\nb\n"], [0, 2]),
    ],
)
def test_blame_lines(texts: Sequence[str], numbers: list[int]) -> None:
    blamed = blame_lines(texts)
    assert [line.version for line in blamed] == numbers
    assert "".join(line.text for line in blamed) == (texts[-1] if texts else "")


lines = st.lists(st.sampled_from(["a\n", "b\n", "c\n"]), max_size=5).map("".join)


@given(st.lists(lines, min_size=1, max_size=4))
def test_blamed_lines_are_the_last_text(texts: list[str]) -> None:
    blamed = blame_lines(texts)
    assert "".join(line.text for line in blamed) == texts[-1]
    for line in blamed:
        assert all(line.text in text for text in texts[line.version :])
