"""Differences of recorded directories: one per path, including attributes that git's modes lack."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import ProvError
from prov.history.diff import Difference, diff_pairs, git_diff, run_tool
from prov.store.objects import MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE, MODE_SYMLINK, Entry
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from tests.history.recorded import Files, write_files

REGULAR, EXECUTABLE = stat.S_IFREG | 0o644, stat.S_IFREG | 0o755


def pair(writer: ObjectWriter, files: Files) -> Pair:
    return Pair(write_files(writer, files), None)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({}, {}, []),
        ({"a": "1"}, {"a": "1"}, []),
        ({}, {"a": "1"}, ["A a"]),
        ({"a": "1"}, {}, ["D a"]),
        ({"a": "1"}, {"a": "2"}, ["M a"]),
        ({"a": "1"}, {"b": "1"}, ["R a -> b"]),
        ({"a": "1"}, {"b/c": "1"}, ["R a -> b/c"]),
        ({"a": "1", "b": "1"}, {"c": "1"}, ["D b", "R a -> c"]),
        ({"a": "1"}, {"b": "1", "c": "1"}, ["R a -> b", "A c"]),
        ({"d/a": "1", "d/b": "2"}, {"d/a": "1", "d/b": "3"}, ["M d/b"]),
        ({"a": "1"}, {"a/b": "2"}, ["D a", "A a/b"]),
        ({"a/b": "2"}, {"a": "1"}, ["A a", "D a/b"]),
    ],
)
def test_lines(writer: ObjectWriter, before: Files, after: Files, lines: list[str]) -> None:
    differences = diff_pairs(writer, pair(writer, before), pair(writer, after))
    assert [one.line for one in differences] == lines


def single(writer: ObjectWriter, mode: int, text: bytes) -> Pair:
    return Pair(writer.add_tree([Entry(b"x", mode, writer.add("blob", text))]), None)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ((MODE_FILE, b"1"), (MODE_EXECUTABLE, b"1"), "P x  -rw-r--r-- -> -rwxr-xr-x"),
        ((MODE_FILE, b"1"), (MODE_EXECUTABLE, b"2"), "M x  -rw-r--r-- -> -rwxr-xr-x"),
        ((MODE_FILE, b"1"), (MODE_SYMLINK, b"1"), "T x  -rw-r--r-- -> lrwxrwxrwx"),
        ((MODE_SYMLINK, b"one"), (MODE_SYMLINK, b"two"), "M x  one -> two"),
    ],
)
def test_modes_and_links(
    writer: ObjectWriter, old: tuple[int, bytes], new: tuple[int, bytes], line: str
) -> None:
    differences = diff_pairs(writer, single(writer, *old), single(writer, *new))
    assert [one.line for one in differences] == [line]


def test_an_empty_folder_is_a_path(writer: ObjectWriter) -> None:
    empty = writer.add_tree([])
    whole = Pair(writer.add_tree([Entry(b"d", MODE_DIRECTORY, empty)]), None)
    assert [one.line for one in diff_pairs(writer, pair(writer, {}), whole)] == ["A d/"]
    assert [one.line for one in diff_pairs(writer, whole, pair(writer, {}))] == ["D d/"]


@pytest.mark.parametrize(
    ("difference", "is_beyond"),
    [
        (Difference("a", "added", None, REGULAR), False),
        (Difference("a", "added", None, REGULAR, detail="setuid"), True),
        (Difference("a", "changed", REGULAR, EXECUTABLE), False),
        (Difference("a", "mode", REGULAR, stat.S_IFREG | 0o600), True),
        (Difference("a", "added", None, stat.S_IFIFO | 0o644), True),
        (Difference("a", "attributes", REGULAR, REGULAR), True),
        (Difference("a", "removed", REGULAR, None, detail="x"), False),
    ],
)
def test_differences_beyond_git(difference: Difference, is_beyond: bool) -> None:
    assert difference.beyond_git is is_beyond


names = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)
texts = st.sampled_from(["1", "2", "3"])


def without_conflicts(files: dict[str, str]) -> dict[str, str]:
    """Return the files with paths that are not folders of other files."""
    return {
        path: text
        for path, text in files.items()
        if not any(other.startswith(f"{path}/") for other in files)
    }


directories = st.dictionaries(names, texts, max_size=6).map(without_conflicts)


@given(directories, directories)
def test_every_path_that_differs_is_reported_once(
    store_of_properties: Store, before: dict[str, str], after: dict[str, str]
) -> None:
    writer = store_of_properties.objects.writer(memory=True)
    differences = diff_pairs(writer, pair(writer, before), pair(writer, after))
    paths = [path for one in differences for path in (one.path, one.old_path) if path]
    differing = {
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    }
    assert sorted(paths) == sorted(differing)
    assert [one.path for one in differences] == sorted(one.path for one in differences)


def test_git_diff(store: Store) -> None:
    with store.objects.writer() as writer:
        old, new = pair(writer, {"a": "1\n"}), pair(writer, {"a": "2\n"})
    assert b"-1\n+2\n" in git_diff(store, old, new, stat_only=False)
    assert b"1 file changed" in git_diff(store, old, new, stat_only=True)


def test_a_tool_that_is_not_installed() -> None:
    assert run_tool(["true"], "a", "b") == 0
    with pytest.raises(ProvError, match="no-such-tool is not installed"):
        run_tool(["no-such-tool"], "a", "b")
