"""Missing objects, and the refs that hold them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.fsck.reach import Reach, holders
from prov.store.objects import CONSTANT_IDENTITY, MODE_DIRECTORY, MODE_FILE, Commit, Entry, Oid
from prov.store.repository import Store


class Forest:
    """Commits, each with a folder of two files, one of them common to all."""

    def __init__(self, store: Store, count: int) -> None:
        self.store = store
        with store.objects.writer() as writer:
            self.shared = writer.add_blob(b"shared")
            self.own = [writer.add_blob(b"%d" % number) for number in range(count)]
            self.refs: dict[str, Oid] = {}
            parents: tuple[Oid, ...] = ()
            for number, blob in enumerate(self.own):
                files = [Entry(b"a", MODE_FILE, self.shared), Entry(b"b", MODE_FILE, blob)]
                folder = Entry(b"folder", MODE_DIRECTORY, writer.add_tree(files))
                tree = writer.add_tree([folder])
                commit = writer.add_commit(Commit(tree, parents, CONSTANT_IDENTITY, f"{number}"))
                self.refs[f"refs/tags/{number}"] = commit
                parents = (commit,)
            writer.finish()

    def reach(self, missing: set[Oid]) -> Reach:
        reach = Reach.of(self.store.objects)
        reach.have -= missing
        return reach


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Forest:
    return Forest(Store.create(tmp_path_factory.mktemp("reach") / "store.git"), 4)


@given(st.sets(st.integers(0, 3)))
def test_later_commits_hold_what_earlier_ones_lack(forest: Forest, lost: set[int]) -> None:
    reach = forest.reach({forest.own[number] for number in lost})
    broken = reach.look(forest.refs)
    first = min(lost, default=4)
    assert list(broken) == [f"refs/tags/{number}" for number in range(first, 4)]
    assert set(reach.missing()) == {forest.own[number] for number in lost}
    for number in lost:
        names = holders(reach, broken)[forest.own[number]]
        assert names == [f"refs/tags/{later}" for later in range(number, 4)]


def test_a_shared_object(forest: Forest) -> None:
    reach = forest.reach({forest.shared})
    assert reach.look(forest.refs) == forest.refs
    assert holders(reach, forest.refs) == {forest.shared: list(forest.refs)}


def test_objects_that_were_restored(forest: Forest) -> None:
    reach = forest.reach({forest.own[0]})
    assert reach.look(forest.refs) == forest.refs
    reach.add({forest.own[0]})
    assert reach.look(forest.refs) == {}


def test_parents_of_a_shallow_commit_need_not_exist(forest: Forest) -> None:
    first, last = forest.refs["refs/tags/2"], forest.refs["refs/tags/3"]
    reach = forest.reach({first})
    assert not reach.is_whole(last)
    shallow = Reach(forest.store.objects, reach.have, frozenset({last}))
    assert shallow.is_whole(last)
