"""Tests of the names that a command sees while it changes them."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest

from prov.reads.namespace import Before, Namespace, Resolved

FILE, FOLDER = Before(stat.S_IFREG | 0o644), Before(stat.S_IFDIR | 0o755)


def link(target: bytes) -> Before:
    return Before(stat.S_IFLNK | 0o777, target)


class Files:
    """Files before a command, by path."""

    def __init__(self, files: Mapping[bytes, Before]) -> None:
        self.files = files

    def lookup(self, path: bytes) -> Before | None:
        return self.files.get(path)

    def names(self, path: bytes) -> list[bytes]:
        folders = (other.rpartition(b"/") for other in sorted(self.files))
        return [name for folder, _, name in folders if folder == path]


FILES = {
    b"/d": FOLDER,
    b"/d/f": FILE,
    b"/d/sub": FOLDER,
    b"/d/sub/g": FILE,
    b"/d/to-f": link(b"f"),
    b"/to-d": link(b"/d/sub/.."),
    b"/loop": link(b"loop"),
    b"/proc": FOLDER,
    b"/dev": FOLDER,
    b"/dev/fd": link(b"/proc/self/fd"),
}


@pytest.fixture
def names() -> Namespace:
    """The names before any change."""
    return Namespace(Files(FILES))


def find(names: Namespace, path: bytes, *, follow: bool = True) -> Resolved:
    return names.find(b"/d", path, follow=follow)


@pytest.mark.parametrize(
    ("path", "origin", "links", "exists"),
    [
        (b"f", b"/d/f", (), True),
        (b"./sub/../f", b"/d/f", (), True),
        (b"/to-d/f", b"/d/f", (b"/to-d",), True),
        (b"/to-d/to-f", b"/d/f", (b"/to-d", b"/d/to-f"), True),
        (b"../../../d//f", b"/d/f", (), True),
        (b"sub/", b"/d/sub", (), True),
        (b"/", b"/", (), True),
        (b"none", b"/d/none", (), False),
        (b"none/x/y", b"/d/none/x/y", (), False),
        (b"none/../f", b"/d/none", (), False),
        (b"f/x", b"/d/f/x", (), False),
        (b"/dev/fd/3", b"/proc/self/fd/3", (b"/dev/fd",), True),
    ],
)
def test_paths(
    names: Namespace, path: bytes, origin: bytes, links: tuple[bytes, ...], exists: bool
) -> None:
    place = find(names, path)
    assert (place.node.origin, place.links, not place.is_missing) == (origin, links, exists)


def test_a_link_at_the_end_is_not_followed_on_request(names: Namespace) -> None:
    assert find(names, b"to-f", follow=False).node.origin == b"/d/to-f"
    assert find(names, b"/loop").node.origin == b"/loop"
    assert find(names, b"/loop", follow=False).node.origin == b"/loop"


def test_created_files_have_no_origin(names: Namespace) -> None:
    names.make(find(names, b"new"), FILE)
    assert find(names, b"new").node.origin == b""
    names.make(find(names, b"folder"), FOLDER)
    assert find(names, b"folder/x").is_missing
    assert find(names, b"folder/x").node.origin == b""
    names.make(find(names, b"/d/l"), link(b"/to-d"))
    place = find(names, b"l/f")
    assert (place.node.origin, place.links) == (b"/d/f", (b"/to-d",))


def test_renamed_folders_keep_their_origins(names: Namespace) -> None:
    names.make(find(names, b"sub/made"), FILE)
    names.move(find(names, b"sub"), find(names, b"moved"))
    assert find(names, b"sub/g").is_missing
    assert find(names, b"sub/g").node.origin == b""
    assert find(names, b"moved/g").node.origin == b"/d/sub/g"
    assert not find(names, b"moved/made").is_missing
    assert find(names, b"moved/none").node.origin == b"/d/sub/none"
    assert [path for path, _ in names.below(b"/d/sub")] == [b"/d/sub/g"]


def test_removed_files_are_missing(names: Namespace) -> None:
    names.remove(find(names, b"/to-d", follow=False))
    assert find(names, b"/to-d/f").is_missing
    names.make(find(names, b"/to-d"), link(b"d/sub"))
    assert find(names, b"/to-d/g").node.origin == b"/d/sub/g"
