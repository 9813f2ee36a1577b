"""Tests of listing reads by packages."""

from __future__ import annotations

import pytest

from prov.dependencies.task_reads import Owner, PathGroup, group_rows
from prov.dependencies.usage import Item, NeededPackage, Places
from prov.reads.reads import Read
from prov.records.keys import TaskKey

WORKDIR = "/build/work/x86_64/app/unpack"
PLACES = Places(
    ("/build/sysroot", f"{WORKDIR}/recipe-sysroot"),
    ("/build/sysroot-native", f"{WORKDIR}/recipe-sysroot-native"),
    is_sandboxed=True,
)
FOLDERS = {"usr": Item(is_folder=True), "usr/include": Item(is_folder=True)}
PACKAGES = [
    NeededPackage(TaskKey("zlib:stage"), PLACES.target, {**FOLDERS, "usr/include/z.h": Item()}),
    NeededPackage(TaskKey("abc:stage"), PLACES.target, {**FOLDERS, "usr/include/a.h": Item()}),
    NeededPackage(TaskKey("tool:stage"), PLACES.native, {"usr/bin/tool": Item()}),
    NeededPackage(TaskKey("own:stage"), ("/build/direct/own",), {"bin/own": Item()}),
]


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/build/sysroot/usr/include/z.h", PathGroup(Owner.PACKAGE, "zlib:stage")),
        (f"{WORKDIR}/recipe-sysroot/usr/include/a.h", PathGroup(Owner.PACKAGE, "abc:stage")),
        ("/build/sysroot-native/usr/bin/tool", PathGroup(Owner.PACKAGE, "tool:stage")),
        ("/build/direct/own/bin/own", PathGroup(Owner.PACKAGE, "own:stage")),
        ("/build/sysroot/usr/include", PathGroup(Owner.SYSROOTS)),
        ("/build/sysroot/usr/include/none.h", PathGroup(Owner.SYSROOTS)),
        ("/build/sysroot", PathGroup(Owner.SYSROOTS)),
        ("/build/sysroot-other", PathGroup(Owner.REST)),
        (WORKDIR, PathGroup(Owner.WORKDIR)),
        (f"{WORKDIR}/src/x.c", PathGroup(Owner.WORKDIR)),
        (f"{WORKDIR}-2/x.c", PathGroup(Owner.REST)),
        ("/usr/bin/cc", PathGroup(Owner.REST)),
        ("src/x.c", PathGroup(Owner.WORKDIR)),
        (".", PathGroup(Owner.WORKDIR)),
        ("..", PathGroup(Owner.REST)),
        ("../..", PathGroup(Owner.REST)),
    ],
)
def test_the_owner_of_a_path(path: str, group: PathGroup) -> None:
    row = Read(path, "o")
    assert group_rows([row], PACKAGES, PLACES, WORKDIR) == {group: [row]}


def test_packages_come_first_by_name() -> None:
    paths = ["/usr/bin/cc", WORKDIR, "/build/sysroot/usr"]
    paths += ["/build/sysroot/usr/include/z.h", "/build/sysroot/usr/include/a.h"]
    groups = group_rows([Read(path, "o") for path in paths], PACKAGES, PLACES, WORKDIR)
    assert [group.package or group.owner.value for group in groups] == [
        *("abc:stage", "zlib:stage", "sysroots", "workdir", "rest"),
    ]


def test_a_run_without_a_workdir_has_no_paths_in_it() -> None:
    nowhere = Places((), (), is_sandboxed=False)
    assert list(group_rows([Read("/a", "o")], [], nowhere, "")) == [PathGroup(Owner.REST)]
