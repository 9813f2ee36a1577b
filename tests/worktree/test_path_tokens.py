from __future__ import annotations

import mmap
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prov.worktree.path_tokens import (
    BINARY,
    HELD,
    NAMES,
    NOWHERE,
    TEXT,
    TokenPaths,
    fits,
    relocate,
    token_letters,
    tokenise,
)

OPTIONS = (b"-L", b"-I", b"-B", b"-R", b"-isystem", b"-idirafter")
ELF, ARCHIVE = b"\x7fELF\2\1\1\0", b"!<arch>\n\0"
NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+~-")
BARE = {letter: b"@PROV:" + name + b"@" for letter, name in NAMES.items()}

parts = st.text("abw.-+_ 7é", min_size=1, max_size=5).filter(lambda part: part not in (".", ".."))
folders = (
    st.lists(parts, min_size=1, max_size=3)
    .map(lambda names: "/" + "/".join(names))
    .map(os.fsencode)
)
long_folders = st.lists(st.text("abw", min_size=1, max_size=9), min_size=2, max_size=4).map(
    lambda names: b"/a-folder-with-a-long-name/" + "/".join(names).encode()
)


@st.composite
def layouts(draw: st.DrawFn, folder: st.SearchStrategy[bytes] = folders) -> TokenPaths:
    """Generate the paths of a WORKDIR, two sysroots and the host tools.

    The sysroots can be inside the WORKDIR, and one's name can be a prefix of the other's.
    """
    workdir, elsewhere, tools = (draw(folder) for _ in range(3))
    around = draw(st.sampled_from([workdir, elsewhere]))
    return places(workdir, around + b"/sysroot", around + b"/sysroot-native", tools)


def places(*paths: bytes) -> TokenPaths:
    return TokenPaths(dict(zip(NAMES, paths, strict=False)))


def replaced(text: bytes, old: TokenPaths, new: TokenPaths, *, fitting: bool = False) -> bytes:
    """Relocate a text in the simplest way: at each position, replace the longest path found there.

    If the replacement must fit and is too long, it is /nonexistent.
    """
    out, at = b"", 0
    while at < len(text):
        begins = at == 0 or text[at - 1] not in NAME_BYTES or text[:at].endswith(OPTIONS)
        found = max(
            (path for path in old.all if begins and text.startswith(path, at)), key=len, default=b""
        )
        there = new.paths[old.all[found]] if found else text[at : at + 1]
        out += NOWHERE if fitting and found and len(there) > len(found) else there
        at += len(found) or 1
    return out


def is_distinct(one: TokenPaths) -> bool:
    return len(set(one.paths.values())) == len(one.paths)


BETWEEN = st.sampled_from(
    [*OPTIONS, b"/", b"//", b"x", b"/usr", b"=", b":", b"\n", b"-W", b"@", b"==@"]
)


@st.composite
def texts(draw: st.DrawFn, one: TokenPaths) -> bytes:
    """Generate texts with a place's paths, some at positions where no path begins."""
    pieces = st.sampled_from(sorted(one.all)) | BETWEEN | st.binary(max_size=4)
    return b"".join(draw(st.lists(pieces, max_size=12))).replace(b"\0", b"")


# texts


@given(data=st.data(), here=layouts(), there=layouts())
def test_a_text_is_restored_exactly_with_the_new_paths(
    data: st.DataObject, here: TokenPaths, there: TokenPaths
) -> None:
    assume(is_distinct(here))
    text = data.draw(texts(here))
    stored = tokenise(text, here)
    if stored is None:
        assert replaced(text, here, there) == text or here.paths == there.paths
        return
    assert stored.fixme.partition(b":")[0] == TEXT
    assert relocate(*stored, here) == text
    assert relocate(*stored, there) == replaced(text, here, there)


@given(data=st.data(), here=layouts(), there=layouts())
def test_a_file_is_marked_with_the_paths_it_contains(
    data: st.DataObject, here: TokenPaths, there: TokenPaths
) -> None:
    assume(is_distinct(here))
    text = data.draw(texts(here))
    stored = tokenise(text, here)
    nowhere = places(b"\x01", b"\x02", b"\x03", b"\x04")
    shown = replaced(text, here, nowhere)
    used = {
        letter for letter, path in nowhere.paths.items() if shown.count(path) > text.count(path)
    }
    assert (stored is None) == (not used)
    if stored is not None:
        assert stored.fixme == TEXT + b":" + b"".join(sorted(used))
        assert {letter for letter, token in BARE.items() if token in stored.data} == used


@given(
    data=st.data(), first=layouts(long_folders), second=layouts(long_folders), nested=st.booleans()
)
def test_files_built_in_two_places_are_stored_equally(
    data: st.DataObject, first: TokenPaths, second: TokenPaths, nested: bool
) -> None:
    one, two = (
        places(
            each.paths[b"W"],
            around + b"/sysroot",
            around + b"/sysroot-native",
            b"/tools" + each.paths[b"H"],
        )
        for each in (first, second)
        for around in [each.paths[b"W"] if nested else b"/elsewhere" + each.paths[b"S"]]
    )
    apart = st.sampled_from(
        [b"/lib", b"/usr/include", b" ", b"\n", b":", b"='", b" -L", b" -isystem", b"\xff", b";"]
    )
    text = b"".join(
        path + between
        for path, between in data.draw(
            st.lists(st.tuples(st.sampled_from(sorted(one.all)), apart), max_size=8)
        )
    )
    assert tokenise(text, one) == tokenise(replaced(text, one, two), two)


W, S, N, H = b"/build/work", b"/build/sysroot", b"/build/sysroot-native", b"/build/hosttools"
HERE = places(W, S, N, H)
FOUND: dict[str, tuple[bytes, bytes | None]] = {
    "at the start": (b"/build/sysroot/usr", b"@PROV:SYSROOT@/usr"),
    "at the end": (b"prefix=/build/sysroot", b"prefix=@PROV:SYSROOT@"),
    "the longer one": (b"/build/sysroot-native/bin", b"@PROV:NATIVE@/bin"),
    "after a space": (b"#! /build/hosttools/sh\n", b"#! @PROV:HOSTTOOLS@/sh\n"),
    "of a shebang": (b"#!/build/hosttools/sh\n", b"#!@PROV:HOSTTOOLS@/sh\n"),
    "in a list": (b"PATH=/build/work:/build/sysroot", b"PATH=@PROV:WORKDIR@:@PROV:SYSROOT@"),
    "of an address": (b"file:///build/work/f", b"file://@PROV:WORKDIR@/f"),
    "of a linker's option": (b"-Wl,-rpath,/build/sysroot", b"-Wl,-rpath,@PROV:SYSROOT@"),
    "twice": (b"/build/work /build/work", b"@PROV:WORKDIR@ @PROV:WORKDIR@"),
    "in another folder": (b"/foo/build/sysroot", None),
    "in a relative path": (b"../build/sysroot .build/sysroot", None),
    "after a dash": (b"dash-/build/sysroot", None),
    "of another option": (b"-x/build/sysroot -isystemx/build/sysroot", None),
    "its parent": (b"/build /build/syst", None),
    "nothing": (b"", None),
    **{f"after {option.decode()}": (option + S, option + BARE[b"S"]) for option in OPTIONS},
}


@pytest.mark.parametrize("what", FOUND)
def test_paths_are_found_where_they_begin(what: str) -> None:
    text, expected = FOUND[what]
    stored = tokenise(text, HERE)
    assert (stored.data if stored else None) == expected
    assert HERE.find(text) == (expected is not None)


def test_paths_are_found_in_mapped_files(tmp_path: Path) -> None:
    for text, expected in ((b"x" * 9000 + b" " + S, True), (b"x" * 9000 + S, False)):
        (tmp_path / "f").write_bytes(text)
        with (
            open(tmp_path / "f", "rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            assert HERE.find(mapped) is expected


def test_aliases_become_the_main_path() -> None:
    here = TokenPaths(HERE.paths, ((b"/real/work", b"W"), (b"/real", b"H")))
    stored = tokenise(b"/real/work/f /real/f /build/work/f", here)
    assert stored == (b"@PROV:WORKDIR@/f @PROV:HOSTTOOLS@/f @PROV:WORKDIR@/f", b"text:HW")
    assert relocate(*stored, here) == b"/build/work/f /build/hosttools/f /build/work/f"


def test_without_places_nothing_is_found() -> None:
    assert tokenise(b"/build/work", TokenPaths({})) is None


# ELF files and archives


@st.composite
def binaries(draw: st.DrawFn, one: TokenPaths) -> bytes:
    strings = draw(st.lists(texts(one), max_size=5))
    return (
        draw(st.sampled_from([ELF, ARCHIVE]))
        + b"\0".join(strings)
        + draw(st.sampled_from([b"", b"\0", b"\0\1"]))
    )


def is_binary(stored: tuple[bytes, bytes] | None) -> bool:
    return stored is not None and stored[1].startswith(BINARY)


@given(data=st.data(), here=layouts(long_folders))
def test_nothing_moves_in_a_binary(data: st.DataObject, here: TokenPaths) -> None:
    assume(is_distinct(here))
    made = data.draw(binaries(here))
    stored = tokenise(made, here)
    if stored is None:
        assert replaced(made, here, places(b"", b"", b"", b"")) == made
        return
    assert is_binary(stored)
    assert len(stored.data) == len(made)
    assert [at for at, byte in enumerate(stored.data) if not byte] == [
        at for at, byte in enumerate(made) if not byte
    ]
    assert relocate(*stored, here) == made


@given(data=st.data(), here=layouts(long_folders), there=layouts() | layouts(long_folders))
def test_a_relocated_binary_has_the_new_paths_that_fit(
    data: st.DataObject, here: TokenPaths, there: TokenPaths
) -> None:
    assume(is_distinct(here))
    made = data.draw(binaries(here))
    stored = tokenise(made, here)
    assume(stored is not None)
    assert stored is not None
    strings = made.split(b"\0")
    moved = [replaced(string, here, there, fitting=True) for string in strings]
    filled = [new + bytes(len(old) - len(new)) for old, new in zip(strings, moved, strict=True)]
    assert relocate(*stored, there) == b"\0".join(filled)
    assert fits(stored.data, stored.fixme, here)
    assert fits(stored.data, stored.fixme, there) == (
        moved == [replaced(string, here, there) for string in strings]
    )
    assert stored.fixme == BINARY + b":" + token_letters(stored.data)


def test_the_rest_of_a_string_follows_a_shorter_path() -> None:
    stored = tokenise(ELF + b"a:/build/sysroot-native/lib:b\0next\0", HERE)
    assert stored == (ELF + b"a:@PROV:NATIVE========@/lib:b\0next\0", b"binary:N")
    assert (
        relocate(*stored, places(b"", b"", b"/n", b""))
        == ELF + b"a:/n/lib:b" + bytes(19) + b"\0next\0"
    )


@pytest.mark.parametrize("longer", [0, 1, 500])
@pytest.mark.parametrize("rest", [b"", b"/lib", b":" + b"n" * 600])
def test_a_path_that_is_too_long_becomes_nonexistent(longer: int, rest: bytes) -> None:
    stored = tokenise(
        ELF + N + rest + b"\0" + W + b"/long/enough\0", places(W + b"/long/enough", S, N, H)
    )
    assert stored is not None
    there = b"/" + b"n" * (len(N) - 1 + longer)
    moved = relocate(*stored, places(b"/w", S, there, H))
    first, filled, second = (
        (N + rest).replace(N, NOWHERE),
        bytes(len(N) - len(NOWHERE)),
        b"/w" + bytes(21) + b"\0",
    )
    assert moved == ELF + (there + rest if longer == 0 else first + filled) + b"\0" + second
    assert fits(stored.data, stored.fixme, places(b"/w", S, there, H)) == (longer == 0)


def test_nonexistent_is_shorter_than_every_token() -> None:
    assert len(NOWHERE) < min(map(len, BARE.values()))


@pytest.mark.parametrize("magic", [ELF, ARCHIVE])
@pytest.mark.parametrize("room", [-1, 0, 1])
def test_a_path_too_short_for_a_token_is_held(magic: bytes, room: int) -> None:
    path = b"/" + b"n" * (len(BARE[b"N"]) + room - 1)
    made = magic + S + b"\0" + path + b"/n\0"
    stored = tokenise(made, places(W, S, path, H))
    assert stored is not None
    assert stored.fixme == (HELD if room < 0 else b"binary:NS")
    assert (stored.data == made) == (room < 0)


C = """
#include <stdio.h>
int main(void) { puts(PLACE "/share"); puts("and more"); return 0; }
"""


def test_a_relocated_program_prints_its_new_path(tmp_path: Path) -> None:
    here = places(b"/the/place/where/it/was/made", b"/none/s", b"/none/n", b"/none/h")
    there = places(b"/short", b"/none/s", b"/none/n", b"/none/h")
    command = [
        "gcc",
        "-x",
        "c",
        "-",
        f'-DPLACE="{here.paths[b"W"].decode()}"',
        "-o",
        str(tmp_path / "made"),
    ]
    subprocess.run(command, input=C.encode(), check=True)
    stored = tokenise((tmp_path / "made").read_bytes(), here)
    assert stored is not None
    assert stored.fixme == b"binary:W"
    for where, said in ((here, "/the/place/where/it/was/made/share"), (there, "/short/share")):
        (tmp_path / "moved").write_bytes(relocate(*stored, where))
        (tmp_path / "moved").chmod(0o755)
        run = subprocess.run([tmp_path / "moved"], capture_output=True, text=True, check=True)
        assert run.stdout.splitlines() == [said, "and more"]


# files in which paths cannot be replaced

LONG = places(*(b"/a/rather/long/path/to" + path for path in (W, S, N, H)))
KEPT = {
    "no magic": b"\xa7\r\r\n\0\0\0\0" + LONG.paths[b"W"] + b"\0",
    "magic that comes later": b" \x7fELF\0" + LONG.paths[b"W"] + b"\0",
    "a text with a token": b"@PROV:WORKDIR@ " + LONG.paths[b"S"],
    "a text with the mark of one": b"@PROV: " + LONG.paths[b"S"],
    "a text with a token of another length": b"@PROV:NATIVE==@\n" + LONG.paths[b"W"],
    "an ELF file with a token": ELF + b"@PROV:WORKDIR====@\0" + LONG.paths[b"S"] + b"\0",
}


@pytest.mark.parametrize("what", KEPT)
def test_an_irreplaceable_path_is_held_unchanged(what: str) -> None:
    stored = tokenise(KEPT[what], LONG)
    assert stored == (KEPT[what], HELD)
    assert relocate(*stored, HERE) == KEPT[what]


@pytest.mark.parametrize(
    ("data", "letters"),
    [
        (ELF + b"@PROV:WORKDIR@\0@PROV:NATIVE===@", b"NW"),
        (ARCHIVE + b"@PROV:HOSTTOOLS=@/x", b"H"),
        (ELF + b"@PROV:OTHER@ @PROV:WORKDIR @PROV:WORKDIR=", b""),
        (b"@PROV:WORKDIR@", b""),
        (b"\0@PROV:WORKDIR@", b""),
    ],
)
def test_tokens_are_known_in_binaries(data: bytes, letters: bytes) -> None:
    assert token_letters(data) == letters


def test_a_token_without_a_mark_is_plain_content() -> None:
    for data in (b"@PROV:WORKDIR@", ELF + b"@PROV:WORKDIR@"):
        assert tokenise(data, HERE) is None
        assert relocate(data, b"", HERE) == data


# digests of places


@given(
    letters=st.sets(st.sampled_from(sorted(NAMES))),
    here=layouts(),
    there=layouts(),
    kind=st.sampled_from("tb"),
)
def test_the_digest_depends_on_the_used_paths(
    letters: set[bytes], here: TokenPaths, there: TokenPaths, kind: str
) -> None:
    mark = (TEXT if kind == "t" else BINARY) + b":" + b"".join(sorted(letters))
    assert here.digest(mark) == TokenPaths(dict(reversed(list(here.paths.items())))).digest(mark)
    if any(here.paths[letter] != there.paths[letter] for letter in letters):
        assert here.digest(mark) != there.digest(mark)


def test_the_text_of_a_place_names_every_path() -> None:
    assert HERE.text().splitlines() == [
        b"HOSTTOOLS /build/hosttools",
        b"NATIVE /build/sysroot-native",
        b"SYSROOT /build/sysroot",
        b"WORKDIR /build/work",
    ]
