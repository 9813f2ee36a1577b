"""Tests of the paths of tasks and the command lines of sandboxes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from prov.errors import BuildError
from prov.tasks.sandbox import (
    DIRECT,
    HOSTTOOLS,
    SYSROOTS,
    TaskPaths,
    bubblewrap,
    confined_command,
    interpreter_tools,
    mounted_at,
    mounted_command,
    place_text,
    python_path,
    sandbox_command,
    seen_workdir,
)
from prov.worktree.path_tokens import NOWHERE

SEEN = "/build/work/x86_64/zlib/compile"
SYSROOT, SYSROOT_NATIVE = SYSROOTS


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A WORKDIR with both sysroots, a toolchain's root and a folder of links."""
    for name in (
        f"work/{SYSROOT}",
        f"work/{SYSROOT_NATIVE}",
        "root/usr/bin",
        "root/etc/alt",
        "bin",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "root/lib").symlink_to("usr/lib")
    (tmp_path / "root/etc/rmt").symlink_to("/usr/sbin/rmt")
    (tmp_path / "root/opt").mkdir()
    return tmp_path


def room_in(folder: Path, *, sandboxed: bool = True, **fields: Any) -> TaskPaths:
    """Return a task's paths with all folders below `top`."""
    name = ("x86_64", "zlib", "compile")
    root = folder / "root" if sandboxed else None
    return TaskPaths(folder / "work", name, root, folder / "bin", **fields)


def mounts(command: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the last mount at each path in the sandbox: the option and the path on the host."""
    found = {}
    for at, option in enumerate(command):
        if option in ("--bind", "--ro-bind", "--ro-bind-try", "--dev-bind", "--symlink"):
            found[command[at + 2]] = (option, command[at + 1])
        elif option in ("--tmpfs", "--dev", "--proc"):
            found[command[at + 1]] = (option, "")
    return found


def command_in(task_paths: TaskPaths, *command: str, **options: Any) -> list[str]:
    """Return the command line that runs a command (by default `sh`) in a sandbox."""
    return sandbox_command("bwrap", task_paths, command or ("sh",), directory=SEEN, **options)


# paths


def test_paths_in_a_sandbox_are_the_same_everywhere(folders: Path) -> None:
    direct = (("pseudo", folders / "pseudo"),)
    task_paths = room_in(folders, direct=direct)
    assert task_paths.seen_workdir == seen_workdir("x86_64", "zlib", "compile") == SEEN
    assert task_paths.seen_links == HOSTTOOLS
    assert task_paths.seen_sysroot(SYSROOT) == "/build/sysroot"
    assert task_paths.seen_sysroot(SYSROOT_NATIVE) == "/build/sysroot-native"
    assert task_paths.seen_direct() == {"pseudo": f"{DIRECT}/pseudo"}
    assert str(folders) not in task_paths.place().decode()


def test_paths_without_a_sandbox_are_the_host_s(folders: Path) -> None:
    task_paths = room_in(folders, sandboxed=False, direct=(("pseudo", folders / "pseudo"),))
    assert task_paths.seen_workdir == str(folders / "work")
    assert task_paths.seen_links == str(folders / "bin")
    assert task_paths.seen_sysroot(SYSROOT) == f"{folders}/work/{SYSROOT}"
    assert task_paths.seen_direct() == {"pseudo": f"{folders}/pseudo"}
    assert task_paths.place() == place_text(f"{folders}/work", str(folders))


def test_a_mounted_workdir_has_the_path_of_the_mount(folders: Path) -> None:
    task_paths = room_in(folders, sandboxed=False, at="/old/work", mounter="bwrap")
    assert task_paths.seen_workdir == "/old/work"
    assert task_paths.seen_sysroot(SYSROOT) == f"/old/work/{SYSROOT}"
    assert task_paths.seen_links == str(folders / "bin")


def test_a_sandbox_ignores_the_path_of_a_mount(folders: Path) -> None:
    assert room_in(folders, at="/old/work").seen_workdir == SEEN


@pytest.mark.parametrize("sandboxed", [False, True])
def test_tokens_stand_for_the_task_s_paths(folders: Path, *, sandboxed: bool) -> None:
    task_paths = room_in(folders, sandboxed=sandboxed)
    paths = task_paths.places().paths
    assert paths == {
        b"W": os.fsencode(task_paths.seen_workdir),
        b"S": os.fsencode(task_paths.seen_sysroot(SYSROOT)),
        b"N": os.fsencode(task_paths.seen_sysroot(SYSROOT_NATIVE)),
        b"H": os.fsencode(task_paths.seen_links),
    }
    assert task_paths.places().constant == sandboxed
    assert task_paths.sysroot_places().paths == {**paths, b"W": NOWHERE}


def test_a_folder_behind_a_link_has_two_paths(folders: Path) -> None:
    (folders / "link").symlink_to(folders)
    task_paths = TaskPaths(folders / "link/work", ("x", "y", "z"), None, folders / "bin")
    aliases = dict(task_paths.places().aliases)
    assert aliases[os.fsencode(folders / "work")] == b"W"
    assert b"H" not in aliases.values()
    assert room_in(folders).places().aliases == ()


def test_places_are_compared_as_texts() -> None:
    text = place_text("/w\udcff", "/t")
    assert text == b"WORKDIR /w\xff\nHOSTTOOLS /t\n"
    assert place_text("/w", "/t") != place_text("/t", "/w")


def test_python_is_where_pathspec_can_be_imported(folders: Path) -> None:
    assert (python_path() / "pathspec").is_dir()
    assert room_in(folders, sandboxed=False).seen_python_path == str(python_path())
    assert room_in(folders).seen_python_path == "/build/python"


# sandboxes


def test_a_sandbox_has_no_network_and_no_rights(folders: Path) -> None:
    command = command_in(room_in(folders))
    assert command[:3] == ["bwrap", "--unshare-all", "--unshare-user"]
    assert "--share-net" not in command
    assert "/etc/resolv.conf" not in mounts(command)
    for pair in (("--cap-drop", "ALL"), ("--uid", "1000"), ("--gid", "1000"), ("--chdir", SEEN)):
        assert pair in pairwise(command)
    assert "--die-with-parent" in command
    assert "--new-session" in command
    assert command[-1] == "sh"


def test_the_network_comes_with_the_files_that_it_needs(folders: Path) -> None:
    command = command_in(room_in(folders, network=True))
    assert "--share-net" in command
    assert mounts(command)["/etc/resolv.conf"] == ("--ro-bind-try", "/etc/resolv.conf")


def test_only_the_workdir_is_writable(folders: Path) -> None:
    task_paths = room_in(folders, readable=(Path("/srv/a.tar"),), direct=(("p", folders / "p"),))
    writable = [
        seen for seen, (option, _) in mounts(command_in(task_paths)).items() if option == "--bind"
    ]
    assert writable == [SEEN]


@pytest.mark.parametrize("writable", ["", SYSROOT, SYSROOT_NATIVE])
def test_a_sysroot_can_be_written_to_by_its_own_scripts(folders: Path, writable: str) -> None:
    found = mounts(command_in(room_in(folders), writable=writable))
    for folder, seen in SYSROOTS.items():
        option = "--bind" if folder == writable else "--ro-bind"
        assert found[seen] == (option, f"{folders}/work/{folder}")
        # at their path in the WORKDIR, the files are never writable
        assert found[f"{SEEN}/{folder}"] == ("--ro-bind", f"{folders}/work/{folder}")


def test_a_workdir_is_mounted_before_its_contents(folders: Path) -> None:
    command = command_in(room_in(folders))
    assert command.index(SEEN) < command.index(f"{SEEN}/{SYSROOT}")


def test_missing_sysroots_are_not_mounted(folders: Path) -> None:
    (folders / "work" / SYSROOT).rmdir()
    found = mounts(command_in(room_in(folders)))
    assert "/build/sysroot" not in found
    assert "/build/sysroot-native" in found


def test_the_root_directory_is_the_toolchain(folders: Path) -> None:
    found = mounts(command_in(room_in(folders)))
    assert found["/usr"] == ("--ro-bind", f"{folders}/root/usr")
    assert found["/lib"] == ("--symlink", "usr/lib")
    assert found["/opt"] == ("--ro-bind", f"{folders}/root/opt")
    assert found["/etc"] == ("--tmpfs", "")
    assert found["/etc/alt"] == ("--ro-bind", f"{folders}/root/etc/alt")
    assert found["/etc/rmt"] == ("--symlink", "/usr/sbin/rmt")
    assert found[HOSTTOOLS] == ("--ro-bind", f"{folders}/bin")
    assert "/" not in found
    assert "/home" not in found


def test_other_readable_paths(folders: Path) -> None:
    task_paths = room_in(folders, readable=(Path("/srv/a.tar"),), direct=(("p", folders / "p"),))
    found = mounts(command_in(task_paths))
    assert found["/srv/a.tar"] == ("--ro-bind-try", "/srv/a.tar")
    assert found[f"{DIRECT}/p"] == ("--ro-bind", f"{folders}/p")


def test_a_terminal_keeps_its_session(folders: Path) -> None:
    assert "--new-session" not in command_in(room_in(folders), terminal=True)


def test_a_task_in_python_has_the_interpreter(folders: Path) -> None:
    found = mounts(command_in(room_in(folders), sys.executable, "-s", "run.py"))
    assert found["/build/python/pathspec"][0] == "--ro-bind"
    assert not any(
        seen.startswith("/build/python") for seen in mounts(command_in(room_in(folders)))
    )


def test_arguments_are_passed_unchanged(folders: Path) -> None:
    command = ["sh", "-c", "echo '$A' \"b c\"", "--", "-x"]
    assert command_in(room_in(folders), *command)[-5:] == command


# other command lines


def test_a_folder_is_mounted_over_an_existing_one(tmp_path: Path) -> None:
    command = mounted_at("bwrap", Path("/w"), str(tmp_path), ["sh"], directory="/d")
    assert mounts(command) == {"/": ("--dev-bind", "/"), str(tmp_path): ("--bind", "/w")}
    assert command[-3:] == ["--chdir", "/d", "sh"]


def test_a_folder_is_mounted_at_a_missing_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("")
    command = mounted_at("bwrap", Path("/w"), f"{tmp_path}/x/y", ["sh"], directory="/d")
    assert mounts(command) == {
        "/": ("--dev-bind", "/"),
        str(tmp_path): ("--tmpfs", ""),
        f"{tmp_path}/a": ("--dev-bind", f"{tmp_path}/a"),
        f"{tmp_path}/b": ("--dev-bind", f"{tmp_path}/b"),
        f"{tmp_path}/x/y": ("--bind", "/w"),
    }


def test_a_workdir_is_mounted_at_its_old_path(tmp_path: Path) -> None:
    task_paths = room_in(tmp_path, sandboxed=False, at=str(tmp_path), mounter="/usr/bin/bwrap")
    command = mounted_command(task_paths, ["make"], directory=str(tmp_path))
    assert command[0] == "/usr/bin/bwrap"
    assert mounts(command)[str(tmp_path)] == ("--bind", str(tmp_path / "work"))


def test_a_confined_command_writes_to_one_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    command = confined_command("bwrap", Path("/image"), tmp_path / "link", ["sh"])
    found = mounts(command)
    assert found["/"] == ("--ro-bind", "/")
    assert found["/run"] == ("--tmpfs", "")
    assert found[str(tmp_path)] == ("--bind", "/image")  # the link's target
    assert ("--chdir", f"{tmp_path}/link") in pairwise(command)
    assert "--unshare-all" in command
    assert "--share-net" not in command


# choices


def test_no_sandbox_is_a_choice() -> None:
    assert bubblewrap("none") is None


def test_unknown_sandboxes_are_rejected() -> None:
    with pytest.raises(BuildError, match="invalid sandbox 'docker'") as error:
        bubblewrap("docker")
    assert error.value.hint == "use auto or bwrap or none"


def test_the_systems_python_is_a_host_tool() -> None:
    tools = interpreter_tools()
    assert all(tool.startswith("/usr/bin/") for tool in tools)
    assert bool(tools) == (sys.base_prefix == "/usr")
