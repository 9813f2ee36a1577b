"""The refs below a prefix are those that git lists, whatever the file contains."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.store.objects import Oid
from prov.store.packed_refs import BYTES_PER_LOOKUP, PackedRefs

HEADER = "# pack-refs with: peeled fully-peeled sorted \n"
COMPONENT = st.text("ab-0é", min_size=1, max_size=3)
NAMES = st.lists(COMPONENT, min_size=1, max_size=3).map(lambda parts: "refs/" + "/".join(parts))


def packed_below(path: Path, prefix: str) -> dict[str, Oid]:
    return PackedRefs(path).below(prefix)


def oid_of(number: int) -> Oid:
    return number.to_bytes(20, "big")


def write(path: Path, names: list[str], peeled: set[str], header: str = HEADER) -> dict[str, Oid]:
    """Write packed-refs as git does: sorted by bytes, and the peeled id after an annotated tag."""
    refs, rows = {}, []
    for number, name in enumerate(names, 1):
        refs[name] = oid_of(number)
        rows.append(f"{oid_of(number).hex()} {name}\n")
        if name in peeled:
            rows.append(f"^{oid_of(number + 1000).hex()}\n")
    path.write_bytes((header + "".join(rows)).encode())
    return refs


@given(st.sets(NAMES, max_size=40), st.data())
def test_the_names_with_a_prefix_are_found(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "packed-refs"
    in_order = sorted(names, key=str.encode)
    peeled = data.draw(st.sets(st.sampled_from(in_order))) if in_order else set()
    header = data.draw(st.sampled_from([HEADER, "", "# pack-refs with: peeled \n"]))
    refs = write(path, in_order, peeled, header)
    whole = data.draw(st.sampled_from([*in_order, "refs/", "refs/b", "zz"]))
    prefix = whole[: data.draw(st.integers(0, len(whole)))]
    expected = {name: oid for name, oid in refs.items() if name.startswith(prefix)}
    assert packed_below(path, prefix) == expected
    assert list(packed_below(path, prefix)) == list(expected)


def test_an_unsorted_file_is_read_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "packed-refs"
    refs = write(path, ["refs/tags/b/1", "refs/tags/a/1", "refs/tags/b/0"], set(), header="")
    assert packed_below(path, "refs/tags/b/").keys() == {"refs/tags/b/1", "refs/tags/b/0"}
    assert packed_below(path, "") == refs


@pytest.mark.parametrize("data", [b"", HEADER.encode()])
def test_a_file_without_refs_has_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "packed-refs"
    assert packed_below(path, "refs/") == {}
    path.write_bytes(data)
    assert packed_below(path, "refs/") == {}


@pytest.mark.parametrize(
    "row",
    [
        "nonsense",
        "0" * 39 + " refs/tags/a",
        "0" * 41 + " refs/tags/a",
        "x" * 40 + " refs/tags/a",
        "0" * 40 + "\trefs/tags/a",
    ],
)
@pytest.mark.parametrize("header", [HEADER, ""])
def test_an_invalid_line_is_an_error(tmp_path: Path, row: str, header: str) -> None:
    path = tmp_path / "packed-refs"
    path.write_text(header + row + "\n")
    with pytest.raises(StoreError, match="packed-refs: invalid line"):
        packed_below(path, "refs/tags/a")


@pytest.mark.parametrize("lookups", [1, 200])
def test_one_ref_is_found_by_bisection_and_in_the_parsed_file(tmp_path: Path, lookups: int) -> None:
    path = tmp_path / "packed-refs"
    names = sorted(f"refs/tags/{number}/{digit}" for number in range(900) for digit in (1, 11))
    refs = write(path, names, {names[7]})
    packed = PackedRefs(path)
    assert path.stat().st_size < 200 * BYTES_PER_LOOKUP
    for number in range(lookups):
        name = names[number * 7 % len(names)]
        assert packed.get(name) == refs[name]
        assert packed.get(name + "1") == refs.get(name + "1")
        assert packed.get(name[:-1]) == refs.get(name[:-1])


def test_a_replaced_or_deleted_file_is_not_current(tmp_path: Path) -> None:
    path = tmp_path / "packed-refs"
    missing = PackedRefs(path)
    assert missing.is_current() and missing.get("refs/a/b") is None
    write(path, ["refs/a/b"], set())
    assert not missing.is_current()
    first = PackedRefs(path)
    assert first.is_current()
    write(tmp_path / "new", ["refs/a/c"], set())
    (tmp_path / "new").rename(path)
    assert not first.is_current()
    assert first.get("refs/a/b") == oid_of(1)
    path.unlink()
    assert not first.is_current()


@given(st.sets(NAMES, max_size=20), st.data())
def test_edited_lines_replace_the_old_ones_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "packed-refs"
    in_order = sorted(names, key=str.encode)
    peeled = data.draw(st.sets(st.sampled_from(in_order))) if in_order else set()
    header = data.draw(st.sampled_from([HEADER, ""]))
    refs = write(path, in_order, peeled, header)
    changes = data.draw(st.dictionaries(NAMES, st.booleans(), max_size=8))
    new = oid_of(7777)
    lines = {name: f"{new.hex()} {name}\n".encode() for name in changes}
    edited = b"".join(
        PackedRefs(path).edited(
            {name: lines[name] if sets else b"" for name, sets in changes.items()}
        )
    )
    path.write_bytes(edited)
    for name, sets in changes.items():
        refs.pop(name, None)
        if sets:
            refs[name] = new
    assert PackedRefs(path).below("refs/") == dict(
        sorted(refs.items(), key=lambda row: row[0].encode())
    )
    if header:  # the ids of peeled refs stay, each after its own ref
        rows = edited.decode().split("\n")
        for number, row in enumerate(rows):
            if row.startswith("^"):
                assert int(row[1:], 16) == int(rows[number - 1][:40], 16) + 1000
        assert edited.count(b"^") == len(peeled - changes.keys())


def test_a_truncated_file_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "packed-refs"
    path.write_text(HEADER + "0" * 40 + " refs/tags/a")
    with pytest.raises(StoreError, match="incomplete"):
        list(PackedRefs(path).edited({"refs/tags/b": b""}))
