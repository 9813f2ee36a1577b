"""Hostile objects of shared state: a process under pseudo creates entries only in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.bitbake.capture import Packed
from prov.bitbake.shared_state import ObjectName, unpack
from prov.errors import BitBakeError
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, Listing, Pair, write_listing

NAME = ObjectName("a", "do_package", "sstate:a:", "0" * 64)
FILE, LINK, FOLDER = 0o100644, 0o120777, 0o040755


def packed(store: Store, listing: dict[bytes, tuple[int, bytes, bytes]]) -> Packed:
    """Return an object with entries: name -> mode, content, label of the hardlink group."""
    with store.objects.writer() as writer:
        nodes: Listing = {
            name: FileNode(mode, writer.add("blob", content), link=label)
            for name, (mode, content, label) in listing.items()
        }
        pair = write_listing(writer, nodes, mtimes=True)
        writer.finish()
    return Packed(NAME.static_key, Pair(*pair), None, NAME.cleaned_key, taken=True)


@pytest.mark.parametrize(
    "label",
    [b"way/secret", b"/etc/passwd", b"../secret", b"none", b"way", b"b"],
    ids=lambda label: label.decode(),
)
def test_hardlink_to_a_file_outside_is_rejected(store: Store, tmp_path: Path, label: bytes) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (folder / "kept").write_text("")
    (outside / "secret").write_text("")
    made = packed(
        store,
        {
            b"way": (LINK, str(outside).encode(), b""),
            b"b": (FILE, b"", b""),
            b"stolen": (FILE, b"", label),
        },
    )
    with pytest.raises(BitBakeError, match=r"stolen is a hardlink to .*, which the object lacks"):
        unpack(store, made, folder, faked=True)
    # the task runs, so its folder must not change
    assert [path.name for path in folder.iterdir()] == ["kept"]


def test_hardlinks_of_an_object_are_listed(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    made = packed(store, {b"a": (FILE, b"x", b"a"), b"b": (FILE, b"x", b"a")})
    entries = unpack(store, made, folder, faked=True).entries
    assert {row[0]: row[-1] for row in entries} == {"a": "a", "b": "a", ".": ""}
    # the task's process creates the other hardlink under pseudo
    assert [path.name for path in folder.iterdir()] == ["a"]
