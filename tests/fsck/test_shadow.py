from __future__ import annotations

import pytest

from prov.errors import StoreError
from prov.fsck.shadow import shadow_of
from prov.store.integrity import check_packs
from prov.store.refs import HEAD
from prov.store.repository import Store


def test_a_shadow_has_all_sound_objects(store: Store) -> None:
    with store.objects.writer() as writer:
        first = writer.add("blob", b"first" * 100)
    with store.objects.writer() as writer:
        second, bad = writer.add("blob", b"second" * 100), writer.add("blob", b"bad" * 100)
    [pack] = [pack for pack in store.objects.packs() if pack.find(bad) >= 0]
    pack.path.chmod(0o644)
    pack.path.write_bytes(pack.path.read_bytes()[:-10])
    content = sorted(path for path in store.path.rglob("*"))
    states = check_packs(store.objects.folder, frozenset())
    with shadow_of(store, states, frozenset({bad})) as shadow:
        assert shadow.objects.blob(first) == b"first" * 100
        assert shadow.objects.blob(second) == b"second" * 100
        assert not shadow.objects.exists(bad)
        assert (shadow.path / "HEAD").read_bytes() == HEAD
        assert shadow.path != store.path
    assert not shadow.path.exists()
    assert sorted(path for path in store.path.rglob("*")) == content


def test_objects_in_files_of_their_own_are_in_it(store: Store) -> None:
    with shadow_of(store, [], frozenset()) as shadow, pytest.raises(StoreError):
        shadow.objects.blob(b"x" * 20)
