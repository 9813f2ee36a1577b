"""Searching for a text in files and folders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.forget.remotes import has_text, tree_has_text
from prov.store.objects import MODE_FILE, Entry, encode_tree

LETTERS = st.text("ab", max_size=8).map(str.encode)


@given(chunks=st.lists(LETTERS), text=LETTERS.filter(bool))
def test_a_text_may_span_chunks(chunks: list[bytes], text: bytes) -> None:
    assert has_text(iter(chunks), text) is (text in b"".join(chunks))


def test_an_empty_text_never_matches() -> None:
    assert not has_text(iter([b"a"]), b"")
    assert not tree_has_text(b"", b"")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        (b"a-secret-file", b"secret", True),
        (b"file", b"secret", False),
        (b"file", b"100644", False),  # a match in the mode, which is not part of a name
    ],
)
def test_a_text_in_a_name(name: bytes, text: bytes, found: bool) -> None:
    assert tree_has_text(encode_tree([Entry(name, MODE_FILE, bytes(20))]), text) is found
