"""Results of servers that lie: each is rejected, and changes no ref."""

from __future__ import annotations

import pytest

from prov.reapi.connection import ServerFailed
from prov.reapi.transfer import listed
from prov.reapi.wire import messages_pb2 as wire

ID = "0123456789" * 4


def tree_of(name: str, size: int = 1) -> bytes:
    file = wire.FileNode(name=name, digest=wire.Digest(hash="0" * 64, size_bytes=size))
    return wire.Tree(root=wire.Directory(files=[file])).SerializeToString()


def test_the_files_of_a_result_are_listed() -> None:
    assert listed(tree_of(ID)) == {ID: ("0" * 64, 1)}
    assert listed(tree_of("commit")) == {"commit": ("0" * 64, 1)}


@pytest.mark.parametrize(
    "data",
    [tree_of("../x"), tree_of(ID[1:]), tree_of(ID + "\n"), tree_of(ID, -1), b"\xff", b"\n\x05x"],
)
def test_an_invalid_list_is_rejected(data: bytes) -> None:
    with pytest.raises(ServerFailed):
        listed(data)
