"""Libgit2 reads every form of object, and only commands that need it import it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.git import make_bare
from prov.store.libgit2 import GitObjects, open_repository
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store
from tests.conftest import Git


def test_a_bare_repository(tmp_path: Path) -> None:
    make_bare(tmp_path / "a" / "b")
    assert open_repository(tmp_path / "a" / "b").is_bare


def test_a_path_without_a_repository(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open"):
        open_repository(tmp_path)


def test_a_loose_object(store: Store, git: Git, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    oid = bytes.fromhex(git("hash-object", "-w", str(tmp_path / "file")).strip())
    objects = GitObjects(store.path)
    assert oid in objects
    assert objects.header(oid) == ("blob", 8)
    assert objects.read(oid) == ("blob", b"content\n")
    assert bytes(20) not in objects
    with pytest.raises(StoreError, match="is missing"):
        objects.read(bytes(20))


def test_objects_of_another_repository_exist_here(store: Store, tmp_path: Path) -> None:
    with store.objects.writer() as writer:
        oid = writer.add("blob", b"x")
    other = tmp_path / "other"
    make_bare(other)
    assert not ObjectDatabase(other).exists(oid)
    (other / "objects/info").mkdir(exist_ok=True)
    (other / "objects/info/alternates").write_text(f"{store.path}/objects\n")
    assert ObjectDatabase(other).exists(oid)


SHORT = (
    ["--version"],
    ["builds"],
    ["log"],
    ["log", "app:make"],
    ["show", "app:make"],
    ["rev-parse", "app:make"],
    ["why", "app:make"],
    ["compose", "root", "app:make"],
    ["checkout", "app:make", "out"],
    ["capture", "tree", "--as", "app:make"],
    ["plan"],
    ["build"],
)


@pytest.mark.parametrize("words", SHORT, ids=" ".join)
def test_a_command_on_prov_s_own_packs_does_not_import_it(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "prov.toml").write_text('sandbox = "none"\n[variables]\nHOSTTOOLS = "sh"\n')
    (tmp_path / "recipes").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    program = (
        "import sys; sys.argv[0] = 'prov'; from prov_cli import app\n"
        "try: app.main()\n"
        "finally: print('imported', 'pygit2' in sys.modules, file=sys.stderr)"
    )

    def prov(*words: str) -> str:
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stderr

    prov("capture", "tree", "--as", "app:make")
    assert prov(*words).splitlines()[-1] == "imported False"
