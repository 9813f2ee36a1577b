"""Encode and decode the manifest of a static cache."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.remote.static.manifest import Bundle, Manifest, decode_manifest

NUMBERS = st.integers(1, 99_999_999)
BUNDLES = st.builds(Bundle, NUMBERS, st.integers(0, 10**15 - 1), st.integers(0, 99_999))
MANIFESTS = st.builds(
    Manifest,
    st.dictionaries(NUMBERS, st.booleans()),
    st.lists(BUNDLES).map(tuple),
)

TEXT = b"""prov static cache 1
publication 00000001
publication 00000002 signed
bundle 00000001 123456 90
"""


def test_the_manifest_of_a_cache() -> None:
    manifest = Manifest({1: False, 2: True}, (Bundle(1, 123456, 90),))
    assert manifest.encode() == TEXT
    assert decode_manifest(TEXT) == manifest
    assert manifest.bundles[0].name == "bundles/00000001"


@given(MANIFESTS)
def test_an_encoded_text_is_decoded(manifest: Manifest) -> None:
    assert decode_manifest(manifest.encode()) == manifest


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b"prov static cache 2\n",
        TEXT + b"\n\n",
        TEXT + b"else\n",
        TEXT + b"publication 1\n",
        TEXT + b"publication 00000003 Signed\n",
        TEXT + b"publication \xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\n",
        TEXT + b"bundle 00000002 -1 90\n",
        TEXT + b"bundle 00000002 1 \n",
        TEXT + b"bundle ../00002 1 90\n",
    ],
)
def test_other_texts_are_rejected(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode_manifest(text)
    with pytest.raises(ValueError):
        decode_manifest(b"")
