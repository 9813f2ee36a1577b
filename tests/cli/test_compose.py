"""`prov compose`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.sysroots import Compose, listed, run, seen, staged
from tests.commands import PROV
from tests.schema.check import read_answer
from tests.sysroot.conftest import fingerprint


def test_compose_creates_a_directory_of_links_and_updates_it_in_place(
    compose: Compose, outputs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "new" / "root"
    assert compose(root, "left", "text").stdout == f"composed {root} from 2 trees\n"
    assert listed(root) == [
        f"usr/share/{name}" for name in ("left", "left2", "plain", "same", "text")
    ]
    plain = (root / "usr/share/plain").stat()
    assert plain.st_nlink > 1
    compose(tmp_path / "second", "text")
    assert (tmp_path / "second/usr/share/plain").stat().st_ino == plain.st_ino
    assert compose(root, "text").stdout == f"composed {root} from 1 tree\n"
    assert seen(root) == seen(tmp_path / "second")
    assert (root / "usr/share/plain").stat().st_ino == plain.st_ino
    compose(root, "text", "right")
    assert listed(root) == [
        f"usr/share/{name}" for name in ("link", "plain", "right", "same", "text")
    ]


def test_compose_writes_the_directorys_own_paths_into_files(
    compose: Compose, tmp_path: Path
) -> None:
    for name in ("one", "another"):
        compose(tmp_path / name, "text")
        here = tmp_path / name
        assert (here / "usr/share/text").read_text() == f"dir={here}/usr/lib; work=/nonexistent;\n"
        assert (here / "usr/share/text").stat().st_nlink == 1


def test_compose_runs_scripts(compose: Compose, tmp_path: Path) -> None:
    root = tmp_path / "root"
    compose(root, "index", "left")
    assert (root / "usr/share/index").read_text().split() == ["index", "left", "left2", "same"]
    compose(root, "index", "text")
    assert (root / "usr/share/index").read_text().split() == ["index", "plain", "text"]
    compose(root, "text")
    assert not (root / "usr/share/index").exists()


def test_compose_starts_programs_only_for_scripts(
    compose: Compose, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither git nor a trial of the sandbox, whose start takes as long as reading 100 names."""
    programs, log = tmp_path / "programs", tmp_path / "log"
    programs.mkdir()
    for name in ("bwrap", "git"):
        program = programs / name
        real = shutil.which(name) or "false"
        program.write_text(f'#!/bin/sh\necho {name} >> {log}\nexec {real} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for names in (["left", "text"], ["left", "text"], ["text"]):
        compose(tmp_path / "root", *names)
    assert not log.exists()
    compose(tmp_path / "root", "index")
    assert "bwrap" in log.read_text().split()


def test_compose_accepts_any_tree(hello: Path, tmp_path: Path) -> None:
    names = ["hello:compile@sysroot", "embed-native:populate_sysroot@output/sysroot-destdir/usr"]
    run("compose", str(tmp_path / "root"), *names, cwd=hello)
    assert {"usr/include/words.h", "usr/lib/libgreet.so.2", "bin/embed"} <= set(
        listed(tmp_path / "root")
    )
    tree = read_answer(run("sysroot", "hello", "--json", cwd=hello).stdout)["sysroots"][0][
        "packages"
    ][0]["output"]
    run("compose", str(tmp_path / "root"), tree, cwd=hello)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["sysroot-destdir"]


def test_compose_rejects_a_conflict_without_an_owner(compose: Compose, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for exists in (False, True):
        done = compose(root, "left", "right", code=1)
        for word in ("usr/share/same: ", staged("left"), staged("right")):
            assert word in done.stderr
        assert root.exists() == exists
        compose(root, "text")
    assert (
        "usr/share/same: "
        in compose(root, "left", "right", owners=("usr/share/same=text",), code=1).stderr
    )
    for owner, expected in (
        ("usr/share/same=left:populate_sysroot", "left"),
        ("/usr/share/same=right", "right"),
        ("usr/share/=left", "left"),
    ):
        compose(root, "left", "right", owners=(owner,))
        assert (root / "usr/share/same").read_text() == f"{expected}\n"
        assert {"usr/share/left", "usr/share/right"} <= set(listed(root))
    compose(root, "left", "right", owners=("usr/share/same=left", "usr/share/other=right"))
    compose(root, "left", owners=("no equals sign",), code=2)


def test_compose_rejects_a_foreign_or_changed_directory(
    compose: Compose, outputs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "mine").write_text("mine")
    assert "is not empty and was not composed by prov" in compose(root, "left", code=1).stderr
    assert listed(root) == ["mine"]
    (root / "mine").unlink()
    compose(root, "left")
    (root / "usr/share/mine").write_text("mine")
    done = compose(root, "text", code=1)
    assert "has changed since it was composed: usr/share/mine (was added)" in done.stderr
    assert "hint: " in done.stderr
    assert listed(root) == [f"usr/share/{name}" for name in ("left", "left2", "mine", "same")]
    (root / "usr/share/mine").unlink()
    compose(root, "text")
    assert listed(root) == ["usr/share/plain", "usr/share/text"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lef:install", "no run of lef:install is recorded"),
        ("nothing", "'nothing' not found in the store"),
    ],
)
def test_compose_of_an_unknown_tree_creates_nothing(
    outputs: Path, tmp_path: Path, name: str, message: str
) -> None:
    done = run("compose", str(tmp_path / "root"), name, cwd=outputs, code=1)
    assert message in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not a different file system")
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def test_compose_on_another_file_system_copies_files(
    compose: Compose, tmp_path: Path, elsewhere: Path
) -> None:
    compose(tmp_path / "root", "left")
    for _ in range(2):
        compose(elsewhere / "root", "left")
        assert seen(elsewhere / "root") == seen(tmp_path / "root")
        assert (elsewhere / "root/usr/share/same").stat().st_nlink == 1
        compose(elsewhere / "root", "text", "index")
    assert (elsewhere / "root/usr/share/index").read_text().split() == ["index", "plain", "text"]


def read_only(store: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the store mounted read-only; the mount ends with the command."""
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77; shift; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(store), *command],
        capture_output=True,
        text=True,
        cwd=store.parent,
    )
    if done.returncode == 77 or "unshare: " in done.stderr:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    return done


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a mount"
)
@pytest.mark.parametrize(
    "fill", [False, True], ids=["pool without the files", "pool with the files"]
)
def test_compose_works_from_a_read_only_store(outputs: Path, tmp_path: Path, fill: bool) -> None:
    names = [staged("left"), staged("index"), staged("text")]
    without = None if fill else shutil.ignore_patterns("pool*")
    shutil.copytree(outputs / ".prov", tmp_path / ".prov", ignore=without, copy_function=os.link)
    (tmp_path / "prov.toml").touch()
    run("compose", str(tmp_path / "expected"), *names, cwd=outputs)
    before = fingerprint(tmp_path / ".prov")
    done = read_only(tmp_path / ".prov", "touch", str(tmp_path / ".prov/x"))
    assert "Read-only file system" in done.stderr
    (tmp_path / "root").mkdir()
    command = [PROV, "compose", str(tmp_path / "root"), *names]
    done = read_only(tmp_path / ".prov", *command)
    assert done.returncode == 0, done.stderr
    assert seen(tmp_path / "root") == seen(tmp_path / "expected")
    assert (
        tmp_path / "root/usr/share/text"
    ).read_text() == f"dir={tmp_path}/root/usr/lib; work=/nonexistent;\n"
    again = read_only(tmp_path / ".prov", *command)
    assert again.returncode == 1
    assert "was not composed by prov" in again.stderr
    assert fingerprint(tmp_path / ".prov") == before


def test_concurrent_composes_run_one_after_another(
    outputs: Path, compose: Compose, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    selections = [["left"], ["right"], ["text"]]
    for _ in range(3):
        commands = [[PROV, "compose", str(root), *map(staged, names)] for names in selections]
        running = [
            subprocess.Popen(command, cwd=outputs, stdout=-3, stderr=subprocess.PIPE)
            for command in commands
        ]
        assert [process.communicate(timeout=60)[1] for process in running] == [b""] * 3
        assert [process.returncode for process in running] == [0] * 3
    compose(root, *selections[2])
    compose(tmp_path / "fresh", *selections[2])
    assert seen(root) == seen(tmp_path / "fresh")
    assert (root / "usr/share/text").read_text().count(f"{root}") == 1
