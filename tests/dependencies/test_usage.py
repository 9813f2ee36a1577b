"""The packages that a task used, by the paths that it read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.dependencies.usage import Item, NeededPackage, Uses, uses_of
from prov.reads.reads import Read, Reads
from prov.records.keys import TaskKey

TOP = "/build/sysroot"
FOLDER = Item(is_folder=True)


def package(name: str, *paths: str, **links: str) -> NeededPackage:
    """Return a package of files and links; `usr__lib__x` stands for the path `usr/lib/x`."""
    items = {path: Item() for path in paths}
    items |= {path.replace("__", "/"): Item(target=target) for path, target in links.items()}
    for path in list(items):
        for end, letter in enumerate(path):
            if letter == "/":
                items[path[:end]] = FOLDER
    return NeededPackage(TaskKey.of(name, "install"), (TOP,), items)


def used(packages: list[NeededPackage], *rows: tuple[str, str]) -> Uses:
    listed = [
        Read(path if path.startswith("/") else f"{TOP}/{path}", kinds) for kinds, path in rows
    ]
    return uses_of(packages, Reads.of(listed))


ZLIB = package("zlib", "usr/include/zlib.h", "usr/lib/libz.so.1", usr__lib__libz__so="libz.so.1")
DATA = package("data", "usr/share/data/table", "usr/share/data/more/list")
LINKS = package("links", usr__lib64="lib", usr__lib__absolute="/build/sysroot/usr/lib/libz.so.1")
LOOP = package("loop", usr__a="b", usr__b="a")
ALL = [ZLIB, DATA, LINKS, LOOP]


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([], ""),
        ([("o", "usr/include/zlib.h")], "zlib"),
        ([("x", "usr/lib/libz.so.1")], "zlib"),
        ([("s", "usr/share/data/table")], "data"),
        ([("l", "usr/lib64")], "links"),
        # a link on the way, relative or absolute, and a path through `..`
        ([("o", "usr/lib64/libz.so.1")], "links zlib"),
        ([("o", "usr/lib/absolute")], "links zlib"),
        ([("o", "usr/share/../lib64/libz.so.1")], "links zlib"),
        # reading a link does not use its target
        ([("l", "usr/lib/absolute")], "links"),
        # search paths and the sysroot itself
        ([("d", "usr/include"), ("s", ""), ("o", "usr/lib")], ""),
        # a folder that no used package has
        ([("s", "usr/share/data")], "data"),
        ([("s", "usr/share/data/more")], "data"),
        ([("ds", "usr/share/data")], "data"),
        # programs such as find list all folders
        ([("d", "usr/share/data"), ("*d", "usr/share/data/more")], ""),
        # lookups that fail in any case
        ([("m", "usr/include/lzma.h"), ("m", "usr/lib64/libx.so")], ""),
        # a file in place of a folder
        ([("s", "usr/share/data/table/x")], "data"),
        # loops end
        ([("o", "usr/a")], "loop"),
        # different places
        ([("o", "/usr/include/zlib.h"), ("o", "/build/sysroot2/usr/include/zlib.h")], ""),
    ],
)
def test_used_packages(rows: list[tuple[str, str]], names: str) -> None:
    uses = used(ALL, *rows)
    assert sorted(key.recipe for key in uses.used) == names.split()


def test_a_shared_folder_is_no_use_if_another_package_is_used() -> None:
    more = package("more", "usr/share/data/other")
    both = used([DATA, more], ("s", "usr/share/data"))
    assert len(both.used) == 2
    one = used([DATA, more], ("s", "usr/share/data"), ("o", "usr/share/data/other"))
    assert [key.recipe for key in one.used] == ["more"]


def test_listed_folders_are_told_apart() -> None:
    uses = used([ZLIB, DATA], ("d", "usr/lib"), ("o", "usr/share/data/table"))
    assert dict(uses.listed) == {"zlib:install": f"{TOP}/usr/lib"}
    assert list(uses.used) == ["data:install"]
    assert dict(used([DATA], ("d", "usr/share/data")).listed) == {
        "data:install": f"{TOP}/usr/share/data"
    }


def test_missing_paths_are_resolved() -> None:
    uses = used(ALL, ("m", "usr/lib64/libx.so"))
    assert [row.path for row in uses.missing] == [f"{TOP}/usr/lib/libx.so"]


def test_a_package_with_several_files_at_one_path_counts_for_all() -> None:
    other = package("other", "usr/include/zlib.h")
    assert len(used([ZLIB, other], ("o", "usr/include/zlib.h")).used) == 2


names = st.sampled_from(["usr", "lib", "include", "a", "b", "..", "."])
paths = st.lists(names, min_size=1, max_size=5).map("/".join)


@given(
    st.lists(st.tuples(paths, st.one_of(st.none(), paths)), max_size=8),
    st.lists(st.tuples(st.sampled_from(["o", "s", "m", "d", "l"]), paths), max_size=8),
)
def test_only_reads_of_its_entries_use_a_package(
    entries: list[tuple[str, str | None]], rows: list[tuple[str, str]]
) -> None:
    items = {path: Item(target=target or "") for path, target in entries}
    own = NeededPackage(TaskKey("own:install"), (TOP,), items)
    uses = used([own], *rows)
    for key, reads in uses.used.items():
        assert reads, key
        assert all(read.path in {f"{TOP}/{path}" for _, path in rows} for read in reads)
    # a path without links that exists, and that was opened, is a use
    for kinds, path in rows:
        plain = ".." not in path and "." not in path.split("/")
        prefixes = {path[:end] for end, letter in enumerate(path) if letter == "/"}
        if kinds == "o" and plain and path in items and not prefixes & items.keys():
            assert own.key in uses.used
