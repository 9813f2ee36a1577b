"""Searches for contents under different names."""

from __future__ import annotations

import pytest

from prov.store.objects import object_id
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.content_search import SHORT, ContentSearch, common_end
from tests.history.recorded import write_files

LONG = "x" * SHORT


@pytest.mark.parametrize(
    ("files", "text", "like", "path"),
    [
        ({"a": LONG}, LONG, "b", "a"),
        ({"a": LONG}, "y" * SHORT, "a", None),
        ({"d/e/a": LONG, "a": "1"}, LONG, "b", "d/e/a"),
        ({"usr/a": LONG, "usr/lib/b": LONG}, LONG, "image/usr/lib/b", "usr/lib/b"),
        ({"a": "1"}, "1", "b", None),
        ({"d/a": "1"}, "1", "a", "d/a"),
    ],
)
def test_find(store: Store, files: dict[str, str], text: str, like: str, path: str | None) -> None:
    with store.objects.writer() as writer:
        pair = Pair(write_files(writer, files), None)
    search = ContentSearch(store.objects)
    oid = object_id("blob", text.encode())
    for _ in range(2):  # failed searches are cached
        place = search.find(pair, oid, like=like.encode())
        assert place == (path.encode() if path is not None else None)


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("a", "a", 1), ("a", "b", 0), ("x/lib/a", "lib/a", 2), ("a/x/b", "b/x/b", 2), ("a/b", "b", 1)],
)
def test_common_end(one: str, other: str, count: int) -> None:
    assert common_end(one.encode(), other.encode()) == count
