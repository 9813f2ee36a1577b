"""The recipes that provide missing files."""

from __future__ import annotations

import pytest

from prov.dependencies.providers import Provider, provided_files
from prov.records.keys import TaskKey
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from tests.history.recorded import write_files


@pytest.mark.parametrize(
    ("paths", "provided"),
    [
        ([(False, "usr/include/z.h")], {"z": [(False, "usr/include/z.h")]}),
        ([(True, "usr/include/z.h")], {}),
        ([(True, "usr/bin/tool"), (True, "usr/bin")], {"tool": [(True, "usr/bin/tool")]}),
        # a folder is not a file, and a file has nothing below it
        (
            [(False, path) for path in ("usr/include", "usr/include/z.h/x", "", ".", "usr/./lib")],
            {},
        ),
        # one path is the start of another
        (
            [(False, "usr/include/z.h"), (False, "usr/include/z.h/x")],
            {"z": [(False, "usr/include/z.h")]},
        ),
        ([], {}),
    ],
)
def test_provided_files(
    store: Store, paths: list[tuple[bool, str]], provided: dict[str, list[tuple[bool, str]]]
) -> None:
    with store.objects.writer() as writer:
        library = write_files(writer, {"usr/include/z.h": "z", "usr/lib/libz.so": "z"})
        tool = write_files(writer, {"usr/bin/tool": "tool"})
        writer.finish()
    providers = [
        Provider(TaskKey("z:stage"), False, (Pair(library, None),)),
        Provider(TaskKey("tool:stage"), True, (Pair(tool, None),)),
        Provider(TaskKey("none:stage"), True, ()),
    ]
    assert provided_files(store.objects, providers, paths) == provided
