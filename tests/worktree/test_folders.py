from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.store.objects import MODE_FILE
from prov.worktree.attributes import Pair
from prov.worktree.folders import (
    NO_OID,
    Folder,
    FolderChange,
    FolderState,
    ScannedFile,
    change_of,
    named_folders,
    plain_folders,
    split_oids,
)

STATE = FolderState(
    own=(0o40755, 5),
    names=[b"f"],
    stats=[(MODE_FILE, 7, 3, 11, 12)],
    folders=[b"d"],
    links=[(1, 7, b"f")],
    owners=[],
)
XATTRS = {b"f": ((b"user.a", b"1"),)}
BEFORE = Folder(STATE.encode(), b"x" * 20, STATE.links, XATTRS)
TWO = {"names": [b"f", b"g"], "stats": [STATE.stats[0], STATE.stats[0]]}
CHANGES = {
    "nothing": ({}, FolderChange.NONE),
    "a file's mtime": ({"stats": [(MODE_FILE, 7, 3, 12, 12)]}, FolderChange.ENTRIES),
    "a file's ctime": ({"stats": [(MODE_FILE, 7, 3, 11, 13)]}, FolderChange.ENTRIES),
    "a file's name": ({"names": [b"g"]}, FolderChange.ENTRIES),
    "another file": (TWO, FolderChange.ENTRIES),
    "its own mode": ({"own": (0o40700, 5)}, FolderChange.ATTRIBUTES),
    "its own mtime": ({"own": (0o40755, 6)}, FolderChange.ATTRIBUTES),
    "another folder": ({"folders": [b"d", b"e"]}, FolderChange.ATTRIBUTES),
    "the device's number": ({"links": [(2, 7, b"f")]}, FolderChange.ATTRIBUTES),
    "an owner": ({"owners": [(b"f", (1, 1))]}, FolderChange.ATTRIBUTES),
}


@pytest.mark.parametrize("name", CHANGES)
def test_how_a_folder_differs_from_the_last_capture(name: str) -> None:
    fields, change = CHANGES[name]
    state = STATE._replace(**fields)  # type: ignore[arg-type]
    assert change_of(BEFORE, state, state.encode(), {}) is change


def test_a_faked_xattr_is_a_change() -> None:
    assert change_of(BEFORE, STATE, STATE.encode(), XATTRS) is FolderChange.NONE
    faked = {b"f": ((b"user.a", b"2"),)}
    assert change_of(BEFORE, STATE, STATE.encode(), faked) is FolderChange.ATTRIBUTES


def test_a_folder_not_in_the_last_capture_is_read() -> None:
    assert change_of(None, STATE, STATE.encode(), {}) is FolderChange.ENTRIES


NAMES = st.binary(min_size=1, max_size=5)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
STATS = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
STATES = st.builds(
    lambda own, files, folders, links, owners: FolderState(
        own, [name for name, _ in files], [row for _, row in files], folders, links, owners
    ),
    st.tuples(NUMBERS, NUMBERS),
    st.lists(st.tuples(NAMES, STATS), max_size=3),
    st.lists(NAMES, max_size=3),
    st.lists(st.tuples(NUMBERS, NUMBERS, NAMES), max_size=2),
    st.lists(st.tuples(NAMES, st.tuples(NUMBERS, NUMBERS)), max_size=2),
)


@given(one=STATES, other=STATES)
def test_equal_states_and_only_they_have_equal_bytes(one: FolderState, other: FolderState) -> None:
    # values that are not shared objects, as in another process
    again = Folder(one.encode()).decode()
    assert again == one
    assert again.encode() == one.encode()
    assert (one.encode() == other.encode()) is (one == other)


def test_folders_survive_a_cache() -> None:
    folders = {
        b"": BEFORE._replace(recorded=Pair(b"1" * 20, None), stable=Pair(b"2" * 20, b"3" * 20)),
        b"d": Folder(STATE.encode(), NO_OID),
    }
    assert named_folders(plain_folders(folders)) == folders


def test_the_files_of_a_folder_are_its_entries_with_content() -> None:
    state = STATE._replace(**TWO)  # type: ignore[arg-type]
    folder = Folder(state.encode(), NO_OID + b"y" * 20)
    assert list(folder.files()) == [(ScannedFile(b"g", *STATE.stats[0]), b"y" * 20)]
    assert split_oids(folder.joined_oids) == [NO_OID, b"y" * 20]
    assert not folder.is_empty
    assert Folder(state._replace(names=[], stats=[], folders=[]).encode()).is_empty
