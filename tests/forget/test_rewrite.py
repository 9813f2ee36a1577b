"""Holders of an object, and histories rewritten without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.forget.rewrite import Holders, Rewriter
from prov.records.run import author, empty_start, write_workdir
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import Pair


class History:
    """Commits of one directory, each with a file in a folder and the record of its attributes."""

    def __init__(self, store: Store, texts: list[bytes]) -> None:
        self.store = store
        with store.objects.writer() as writer:
            self.start = empty_start(writer).commit
            self.blobs = [writer.add_blob(text) for text in texts]
            self.commits: list[Oid] = []
            for number, blob in enumerate(self.blobs):
                before = self.commits[-1] if self.commits else self.start
                tree = self._tree(writer, blob)
                by = author(number)
                commit = write_workdir(writer, Pair(tree, None), before, by, f"{number}")
                self.commits.append(commit)
            writer.finish()

    def _tree(self, writer: ObjectWriter, blob: Oid) -> Oid:
        folder = writer.add_tree([Entry(b"file", MODE_FILE, blob)])
        return writer.add_tree([Entry(b"folder", MODE_DIRECTORY, folder)])

    def without(self, targets: set[Oid]) -> Oid | None:
        with self.store.objects.writer() as writer:
            rewriter = Rewriter(self.store, writer, Holders(self.store, targets))
            last = rewriter.without(self.commits[-1])
            writer.finish()
        return last

    def messages(self, oid: Oid | None) -> list[str]:
        """Return the messages of a commit and its ancestors, except the start."""
        messages = []
        while oid is not None and oid != self.start:
            commit = self.store.objects.commit(oid)
            messages.append(commit.message.strip())
            oid = commit.parents[0] if commit.parents else None
        return messages


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    path = tmp_path_factory.mktemp("history") / "store.git"
    return History(Store.create(path), [b"%d" % number for number in range(5)])


def test_holders_of_a_blob(history: History) -> None:
    holders = Holders(history.store, {history.blobs[2]})
    assert [holders.commit_itself(oid) for oid in history.commits] == [
        number == 2 for number in range(5)
    ]
    assert [holders.commit(oid) for oid in history.commits] == [number >= 2 for number in range(5)]


def test_the_record_counts(history: History) -> None:
    record = history.store.objects.commit(history.commits[1]).parents[1]
    assert Holders(history.store, {record}).commit_itself(history.commits[1])


@given(st.sets(st.integers(0, 4)))
def test_a_history_without_some_commits(history: History, removed: set[int]) -> None:
    last = history.without({history.blobs[number] for number in removed})
    rest = [str(number) for number in reversed(range(5)) if number not in removed]
    assert history.messages(last) == rest
    if not removed:
        assert last == history.commits[-1]


def test_commits_before_the_removed_one_are_the_same(tmp_path: Path, history: History) -> None:
    last = history.without({history.blobs[4]})
    assert last == history.commits[3]
