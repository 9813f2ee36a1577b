"""Tests of watching directories, with real commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from prov.reads.reads import COMPLETE, NOT_RECORDED, Read, Reads, incomplete
from prov.reads.watch import _MOST_REMOVED, DirectoryWatch, WatchedTree, watching

pytestmark = pytest.mark.process

SEEN = "/tmp/seen"
NEEDS_GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
NEEDS_BWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")
NEEDS_UNSHARE = pytest.mark.skipif(
    subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode != 0,
    reason="unprivileged user namespaces are not available",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with two files, a link to one of them, and a folder without files."""
    top = tmp_path / "tree"
    (top / "include/deep/er").mkdir(parents=True)
    (top / "include/a.h").write_text("#define A 1\n")
    (top / "include/b.h").write_text("#define B 1\n")
    (top / "include/link.h").symlink_to("a.h")
    return top


def follow(watch: DirectoryWatch, command: Sequence[str | Path]) -> None:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        watch.follow(process.pid)
    assert process.returncode == 0


def reads_of(
    command: Sequence[str | Path], *trees: WatchedTree, toolchain: Sequence[WatchedTree] = ()
) -> Reads:
    with watching(trees, toolchain) as watch:
        follow(watch, command)
    return watch.reads()


def uses(reads: Reads) -> dict[str, str]:
    """Return the kinds of use by the path below SEEN."""
    return {row.path.removeprefix(f"{SEEN}/"): row.kinds for row in reads.rows}


def in_sandbox(folder: Path, *command: str | Path) -> list[str | Path]:
    """Return the command line that runs a command with a directory at SEEN, read-only."""
    return [
        *("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp"),
        *("--ro-bind", folder, SEEN, *command),
    ]


def test_an_opened_file_is_listed_at_the_end_of_a_symlink(tree: Path) -> None:
    reads = reads_of(["cat", tree / "include/link.h"], WatchedTree(tree, SEEN))
    assert reads.rows == (Read(f"{SEEN}/include/a.h", "o"),)
    assert (reads.opens, reads.probes, reads.toolchain) == (COMPLETE, NOT_RECORDED, NOT_RECORDED)


@NEEDS_BWRAP
def test_files_opened_in_a_sandbox_are_listed(tree: Path) -> None:
    (tree / "lib").symlink_to("include")
    command = in_sandbox(tree, "sh", "-c", f"read X < {SEEN}/lib/b.h; ls {SEEN}/include/deep")
    assert uses(reads_of(command, WatchedTree(tree, SEEN))) == {
        "include/b.h": "o",
        "include/deep": "d",
    }


@NEEDS_BWRAP
def test_a_hardlink_in_a_different_tree_is_a_different_file(tree: Path, tmp_path: Path) -> None:
    """Two commands at once use trees that share their files."""
    other = tmp_path / "other"
    shutil.copytree(tree, other, copy_function=os.link, symlinks=True)
    with watching([WatchedTree(tree, SEEN)]) as watch:
        command = in_sandbox(other, "cat", f"{SEEN}/include/b.h")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            follow(watch, in_sandbox(tree, "cat", f"{SEEN}/include/a.h"))
        assert process.returncode == 0
    assert uses(watch.reads()) == {"include/a.h": "o"}


def test_stat_and_failed_lookups_are_not_listed(tree: Path) -> None:
    script = (
        f"test -e {tree}/include/a.h; test -e {tree}/include/c.h; readlink {tree}/include/* || :"
    )
    reads = reads_of(["sh", "-c", f"cd {tree}; {script}"], WatchedTree(tree, SEEN))
    assert uses(reads) == {"include": "d"}


def test_an_executed_program_is_listed(tree: Path) -> None:
    program = tree / "include" / "tool"
    shutil.copy("/bin/true", program)
    assert uses(reads_of([program], WatchedTree(tree, SEEN))) == {"include/tool": "o"}


@NEEDS_GCC
def test_headers_libraries_and_static_programs_are_listed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "lib.c").write_text("int value(void) { return 0; }\n")
    (tmp_path / "main.c").write_text(
        "#include <link.h>\n"
        "#include <dlfcn.h>\n"
        "int main(void) { return A - 1 + !dlopen(LIBRARY, RTLD_NOW); }\n"
    )
    (tmp_path / "static.c").write_text("int main(void) { return 0; }\n")
    library, program = tree / "libvalue.so", tree / "include/static"
    subprocess.run(["gcc", "-shared", tmp_path / "lib.c", "-o", library], check=True)
    subprocess.run(["gcc", "-static", tmp_path / "static.c", "-o", program], check=True)
    # link.h of glibc must not be found first
    compiler = f'gcc -iquote{tree}/include -DLIBRARY=\\"{library}\\" -include a.h main.c -o main'
    script = f"cd {tmp_path}; {compiler}; ./main; {program}"
    source = (tmp_path / "main.c").read_text().replace("#include <link.h>\n", "")
    (tmp_path / "main.c").write_text(source)
    reads = reads_of(["sh", "-ec", script], WatchedTree(tree, SEEN))
    assert uses(reads) == {"include/a.h": "o", "libvalue.so": "o", "include/static": "o"}


def test_what_the_command_creates_is_not_listed(tree: Path) -> None:
    script = (
        "echo > new; cat new; mkdir folder; echo > folder/file; cat folder/file;"
        " mv include/a.h moved.h; cat moved.h; cat include/b.h; rm include/b.h;"
        " echo > include/b.h; cat include/b.h"
    )
    reads = reads_of(["sh", "-c", f"cd {tree}; {script}"], WatchedTree(tree, SEEN, writable=True))
    assert uses(reads) == {"include/b.h": "o"}


def test_given_folders_are_watched_and_skipped_ones_are_not(tree: Path) -> None:
    command = ["sh", "-c", f"cat {tree}/include/a.h; ls {tree}/include/deep {tree}"]
    given = WatchedTree(tree, SEEN, [b"include/deep"])
    assert uses(reads_of(command, given)) == {"include/deep": "d", SEEN: "d"}
    skipped = WatchedTree(tree, SEEN, skipped=frozenset([b"include"]))
    assert uses(reads_of(command, skipped)) == {SEEN: "d"}


def test_uses_of_a_shared_directory_are_marked(tree: Path) -> None:
    reads = reads_of(["cat", tree / "include/a.h"], WatchedTree(tree, SEEN, shared=True))
    assert uses(reads) == {"include/a.h": "*o"}


def test_names_of_any_bytes_are_listed(tree: Path) -> None:
    name = os.fsdecode(b"n\xff \n\t\\" + b"x" * 240)
    (tree / name).write_text("")
    reads = reads_of(["cat", tree / name], WatchedTree(tree, SEEN))
    assert reads.rows == (Read(f"{SEEN}/{name}", "o"),)
    assert Reads.of(reads.rows).encode().isascii()


def test_a_process_watches_one_command_after_another(tree: Path) -> None:
    """Events of one command are not listed for the next, with any number of watches."""
    for number in range(_MOST_REMOVED + 1):
        (tree / f"folder{number}").mkdir()
    for _ in range(2):
        a = reads_of(["cat", tree / "include/a.h"], WatchedTree(tree, SEEN))
        b = reads_of(["cat", tree / "include/b.h"], WatchedTree(tree / "include", SEEN))
        assert [*uses(a), *uses(b)] == ["include/a.h", "b.h"]


def test_no_directory_is_watched(tree: Path) -> None:
    assert reads_of(["cat", tree / "include/a.h"]).rows == ()


MANY_OPENS = """
import os, sys
files = [os.path.join(sys.argv[1], name) for name in os.listdir(sys.argv[1])]
for number in range(int(sys.argv[2])):
    os.close(os.open(files[number % len(files)], os.O_RDONLY))
"""


def test_a_list_with_many_opens_is_never_silently_wrong(tmp_path: Path) -> None:
    names = [f"file{number}" for number in range(500)]
    for name in names:
        (tmp_path / name).write_text("")
    command: list[str | Path] = [sys.executable, "-c", MANY_OPENS, tmp_path, "200000"]
    reads = reads_of(command, WatchedTree(tmp_path, SEEN))
    if reads.opens == COMPLETE:
        assert uses(reads).keys() == {*names, SEEN}
    else:
        assert reads.opens == incomplete("overflow")


def test_an_overflow_of_the_kernel_s_queue_makes_a_list_incomplete(tree: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with watching([WatchedTree(tree, SEEN)]) as watch:
        # more events than the queue holds, before the first is read; equal ones become one
        for _ in range(limit // 2 + 1):
            for name in ("a.h", "b.h"):
                os.close(os.open(tree / "include" / name, os.O_RDONLY))
        follow(watch, ["true"])
    assert watch.reads().opens == incomplete("overflow")
    assert reads_of(["true"], WatchedTree(tree, SEEN)).opens == COMPLETE


@pytest.fixture
def tools(tmp_path: Path) -> WatchedTree:
    """A directory that stays watched, with two files in two folders."""
    for name in ("one", "two"):
        (tmp_path / "tools" / name).mkdir(parents=True)
        (tmp_path / "tools" / name / "tool").write_text("")
    return WatchedTree(tmp_path / "tools", "", [b"one", b"two"], shared=True)


def test_a_toolchain_is_watched_for_all_commands(tree: Path, tools: WatchedTree) -> None:
    one, two = tools.path / "one/tool", tools.path / "two/tool"
    own = WatchedTree(tree, SEEN)
    first = reads_of(["cat", one, tree / "include/a.h"], own, toolchain=[tools])
    assert uses(first) == {"/one/tool": "*o", "include/a.h": "o"}
    assert (first.opens, first.toolchain) == (COMPLETE, COMPLETE)
    one.read_text()  # between the commands
    assert uses(reads_of(["cat", two], own, toolchain=[tools])) == {"/two/tool": "*o"}
    assert uses(reads_of(["cat", one], own)) == {}


def test_the_folders_of_a_toolchain_are_read_once(tools: WatchedTree) -> None:
    for folders in (iter([b"one"]), iter([b"two"])):
        one = WatchedTree(tools.path, "", folders, shared=True)
        reads = reads_of(["cat", tools.path / "one/tool"], toolchain=[one])
        assert uses(reads) == {"/one/tool": "*o"}


def test_a_toolchain_that_is_placed_again_is_watched_again(tools: WatchedTree) -> None:
    reads_of(["true"], toolchain=[tools])
    tools.path.rename(tools.path.with_name("old"))
    shutil.copytree(tools.path.with_name("old"), tools.path)
    reads = reads_of(["cat", tools.path / "one/tool"], toolchain=[tools])
    assert uses(reads) == {"/one/tool": "*o"}


def test_a_process_with_many_own_watches_keeps_watching_its_toolchain(
    tree: Path, tools: WatchedTree
) -> None:
    for number in range(_MOST_REMOVED + 1):
        (tree / f"folder{number}").mkdir()
    for _ in range(2):
        reads = reads_of(
            ["cat", tools.path / "one/tool"], WatchedTree(tree, SEEN), toolchain=[tools]
        )
        assert uses(reads) == {"/one/tool": "*o"}
        assert (reads.opens, reads.toolchain) == (COMPLETE, COMPLETE)


def test_an_overflow_matters_only_during_a_command(tools: WatchedTree) -> None:
    def overflow() -> None:
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for _ in range(limit // 2 + 1):
            for name in ("one", "two"):
                os.close(os.open(tools.path / name / "tool", os.O_RDONLY))

    reads_of(["true"], toolchain=[tools])
    overflow()
    with watching([], [tools]) as watch:
        follow(watch, ["true"])
        assert watch.reads() == Reads((), toolchain=COMPLETE)
        overflow()
        follow(watch, ["true"])
    reads = watch.reads()
    assert reads.opens == reads.toolchain == incomplete("overflow")


WATCH = """
import subprocess, sys
from pathlib import Path
from prov.reads.watch import WatchedTree, watching

def watch(own, toolchain):
    trees = [WatchedTree(Path(sys.argv[1]), "/seen", own)]
    tools = [WatchedTree(Path(sys.argv[2]), "", toolchain, shared=True)]
    with watching(trees, tools) as watch:
        with subprocess.Popen(["cat", sys.argv[1] + "/include/a.h"]) as process:
            watch.follow(process.pid)
    reads = watch.reads()
    print(len(reads.rows), reads.opens, reads.toolchain, sep=", ")

few, many = [b"include"], [b"include", b"include/deep", b"include/deep/er"]
for own, toolchain in zip(*eval(sys.argv[3])):
    watch(own, toolchain)
"""


def with_limit(kind: str, number: int, commands: str, tree: Path, tools: WatchedTree) -> list[str]:
    """Return the lists of commands in a process with a limit of the kernel, each as a line.

    A user namespace has limits of its own, which cannot exceed the host's.
    """
    script = f'echo {number} > /proc/sys/user/max_inotify_{kind} && exec "$@"'
    wrapper = ["unshare", "-Ur", "sh", "-c", script, "sh"]
    command = [*wrapper, sys.executable, "-c", WATCH, str(tree), str(tools.path), commands]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "," in line]


@NEEDS_UNSHARE
def test_a_missing_instance_makes_a_list_incomplete(tree: Path, tools: WatchedTree) -> None:
    reason = incomplete("more inotify instances than fs.inotify.max_user_instances allows")
    lines = with_limit("instances", 0, "([few], [[]])", tree, tools)
    assert lines == [f"0, {reason}, {reason}"]


@NEEDS_UNSHARE
def test_too_few_watches_make_a_list_incomplete(tree: Path, tools: WatchedTree) -> None:
    """The task's own directories come first, also before a toolchain that is watched already."""
    reason = incomplete("more folders than fs.inotify.max_user_watches allows")
    all_tools = "[b'one', b'two']"
    commands = f"([few, few, many, few, many], [{all_tools}, [], [], [b'one'], {all_tools}])"
    assert with_limit("watches", 4, commands, tree, tools) == [
        f"1, complete, {reason}",
        "1, complete, complete",
        f"1, complete, {reason}",
        "1, complete, complete",
        f"1, complete, {reason}",
    ]
    lines = with_limit("watches", 2, "([many], [[]])", tree, tools)
    assert lines == [f"1, {reason}, {reason}"]


def test_an_unreadable_directory_makes_a_list_incomplete(tree: Path) -> None:
    missing = WatchedTree(tree / "missing", SEEN)
    reads = reads_of(["cat", tree / "include/a.h"], WatchedTree(tree, SEEN), missing)
    assert uses(reads) == {"include/a.h": "o"}
    assert reads.opens == incomplete("cannot watch a folder: No such file or directory")
