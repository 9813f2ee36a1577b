"""The tasks that wrote a file, from the last to the first."""

from __future__ import annotations

import pytest

from prov.errors import NameUnknown
from prov.history.blame import Blame, blame, changes_path, line_origins
from prov.history.file_names import find_file
from prov.store.repository import Store
from tests.history.recorded import Recorded, Recorder
from tests.reads.buildfiles.test_object_files import archive

TEXT = "a text that is long enough\n"


def steps(trace: Blame) -> list[tuple[str, str, str, str]]:
    return [(step.key, step.what, step.path, step.origin) for step in trace.steps]


def trace(store: Store, name: str) -> Blame:
    return blame(store, find_file(store, name))


@pytest.fixture
def chain(recorder: Recorder) -> list[Recorded]:
    """Three tasks of lib, and app:make with lib's output in its sysroot."""
    unpack = recorder.run("lib:unpack", {"sources": "x"}, {"lib.h": TEXT, "x.h": TEXT * 2})
    patch = recorder.run(
        "lib:patch", {"script": "patch"}, {"lib.h": TEXT, "x.h": TEXT * 3}, before=unpack
    )
    install = recorder.run(
        "lib:install",
        {"script": "cp"},
        {"lib.h": TEXT, "x.h": TEXT * 3, "image/usr/lib.h": TEXT},
        before=patch,
        facts={"outputdir": "image"},
    )
    edges = {"from": {"lib:install": install.output.hex()}}
    package = recorder.run(
        "lib:package", {"script": "tar"}, {"image/usr/lib.h": TEXT, "list": "1"}, edges=edges
    )
    recorder.build(unpack, patch, install, package)
    return [unpack, patch, install, package]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lib:unpack@workdir/lib.h", [("lib:unpack", "made", "lib.h", "")]),
        ("lib:patch@workdir/lib.h", [("lib:unpack", "made", "lib.h", "")]),
        (
            "lib:patch@workdir/x.h",
            [("lib:patch", "rewrote", "x.h", ""), ("lib:unpack", "made", "x.h", "")],
        ),
        (
            "lib:install@output/image/usr/lib.h",
            [
                ("lib:install", "copied", "image/usr/lib.h", "lib.h"),
                ("lib:unpack", "made", "lib.h", ""),
            ],
        ),
        ("lib:package@workdir/list", [("lib:package", "made", "list", "")]),
        (
            "lib:package@workdir/image/usr/lib.h",
            [
                ("lib:package", "copied", "image/usr/lib.h", "lib:install's image/usr/lib.h"),
                ("lib:install", "copied", "image/usr/lib.h", "lib.h"),
                ("lib:unpack", "made", "lib.h", ""),
            ],
        ),
    ],
)
def test_steps(
    store: Store, chain: list[Recorded], name: str, expected: list[tuple[str, str, str, str]]
) -> None:
    assert steps(trace(store, name)) == expected


def test_a_missing_file(store: Store, chain: list[Recorded]) -> None:
    with pytest.raises(NameUnknown, match="no file none in the workdir of lib:unpack"):
        trace(store, "lib:unpack@workdir/none")


def test_short_and_empty_files_are_not_copies(store: Store, recorder: Recorder) -> None:
    before = recorder.run("a:one", {"script": "1"}, {"a": "", "b": "1"})
    recorder.run(
        "a:two", {"script": "2"}, {"a": "", "b": "1", "c": "", "d": "1", "x/b": "1"}, before=before
    )
    assert steps(trace(store, "a:two@workdir/c")) == [("a:two", "made", "c", "")]
    assert steps(trace(store, "a:two@workdir/d")) == [("a:two", "made", "d", "")]
    assert steps(trace(store, "a:two@workdir/x/b"))[0] == ("a:two", "copied", "x/b", "b")


def test_the_task_that_introduced_each_line(store: Store, recorder: Recorder) -> None:
    one = recorder.run("a:one", {"script": "1"}, {"f": "1\n2\n"})
    recorder.run("a:two", {"script": "2"}, {"f": "1\nx\n2\n"}, before=one)
    found = trace(store, "a:two@workdir/f")
    assert line_origins(store, found) == ["a:one", "a:two", "a:one"]


@pytest.mark.parametrize(
    ("patch", "path", "is_changed"),
    [
        (b"--- a/src/x.c\n+++ b/src/x.c\n", b"src/x.c", True),
        (b"--- a/src/x.c\t2024\n", b"lib/src/x.c", True),
        (b"--- x.c\n", b"x.c", True),
        (b"+++ b/x.c\n", b"xx.c", False),
        (b" --- a/x.c\n", b"x.c", False),
        (b"", b"x.c", False),
    ],
)
def test_which_paths_a_patch_changes(patch: bytes, path: bytes, is_changed: bool) -> None:
    assert changes_path(patch, path) is is_changed


def test_the_headers_of_an_archive_name_the_tasks_that_staged_them(
    store: Store, recorder: Recorder
) -> None:
    lib = recorder.run(
        "lib:stage",
        {"script": "cp"},
        {"image/usr/include/lib.h": TEXT},
        facts={"outputdir": "image"},
    )
    edges = {"needs": {"lib:stage": lib.output.hex()}}
    text = archive({"app.o": b""}).decode()
    depfile = "app.o: app.c app.h /build/sysroot/usr/include/lib.h /usr/include/stdio.h\n"
    files = {"app.a": text, "app.o": "", "app.c": "", "app.d": depfile}
    recorder.run("app:make", {"script": "cc"}, files, edges=edges, facts={"outputdir": ""})
    [own] = trace(store, "app:make@workdir/app.a").units
    assert own.unit.read[:2] == ("app.c", "app.h")
    assert own.staged == {"/build/sysroot/usr/include/lib.h": "lib:stage"}
    assert trace(store, "app:make@workdir/app.c").units == ()
