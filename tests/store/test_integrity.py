from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prov.store.integrity import GitFsck, check_packs, listed, loose_objects, malformed, salvage
from prov.store.objects import Oid
from prov.store.packs import PackFile, PackStream
from prov.store.repository import Store

CONTENTS = [b"%d" % number * 40 for number in range(20)]


@pytest.fixture
def oids(store: Store) -> list[Oid]:
    with store.objects.writer() as writer:
        return [writer.add("blob", data) for data in CONTENTS]


@pytest.fixture
def pack(store: Store, oids: list[Oid]) -> Path:
    [pack] = [pack for pack in store.objects.packs() if pack.find(oids[0]) >= 0]
    pack.path.chmod(0o644)
    pack.index_path.chmod(0o644)
    return pack.path


def test_a_sound_store(store: Store, pack: Path, oids: list[Oid]) -> None:
    assert [state.wrong for state in check_packs(store.objects.folder, frozenset())] == ["", ""]
    assert listed(pack.with_suffix(".idx")) == set(oids)
    assert GitFsck.start(store.path).answer() == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no index": lambda pack: pack.with_suffix(".idx").unlink(),
    "no pack": lambda pack: pack.unlink(),
    "a pack that is cut off": cut,
    "an index that is cut off": lambda pack: cut(pack.with_suffix(".idx")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_pack_is_reported(store: Store, pack: Path, name: str) -> None:
    DAMAGES[name](pack)
    states = check_packs(store.objects.folder, frozenset())
    assert [state.name for state in states if state.wrong] == [pack.stem]


def test_a_pack_with_a_malformed_object_is_reported(
    store: Store, pack: Path, oids: list[Oid]
) -> None:
    states = check_packs(store.objects.folder, frozenset(oids[:2]))
    wrong = [state.wrong for state in states if state.name == pack.stem]
    assert wrong == ["2 of its objects are malformed"]


def test_what_git_reports_as_malformed() -> None:
    lines = [f"error in tree {'12' * 20}: treeNotSorted: not properly sorted", "dangling blob x"]
    assert malformed(lines) == {b"\x12" * 20: "treeNotSorted: not properly sorted"}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=3))
def test_salvaged_objects_are_unchanged(
    pack: Path, oids: list[Oid], tmp_path: Path, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(pack.read_bytes())
    for at, bits in damage:
        data[at % len(data)] ^= bits
    (tmp_path / "damaged").write_bytes(data)
    (tmp_path / "objects").mkdir(exist_ok=True)
    stream = PackStream(tmp_path / "objects")
    count = salvage(tmp_path / "damaged", stream)
    assert count >= len(oids) - 2 * len(damage)
    index = stream.finish()
    if index is not None:
        result = PackFile(index)
        for oid, content in zip(oids, CONTENTS, strict=True):
            number = result.find(oid)
            assert number < 0 or result.read(number) == ("blob", content)
        result.close()


def test_objects_in_files_of_their_own(store: Store) -> None:
    folder = store.path / "objects" / "12"
    folder.mkdir()
    (folder / ("34" * 19)).write_bytes(b"not deflated")
    (folder / "other").touch()
    [(path, oid, wrong)] = loose_objects(store.path)
    assert (path.name, oid) == ("34" * 19, b"\x12" + b"\x34" * 19)
    assert wrong.startswith("cannot read it")
