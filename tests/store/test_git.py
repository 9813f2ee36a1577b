from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.git import (
    call_git,
    error_text,
    git_command,
    git_environment,
    git_program,
    ignored_paths,
    make_bare,
    run_git,
    start_git,
)
from prov.store.objects import object_id
from prov.store.repository import Store


def test_the_environment_has_none_of_the_callers_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")
    environment = git_environment()
    assert "GIT_DIR" not in environment
    assert "GIT_SSH_COMMAND" not in environment
    assert environment["GIT_ALLOW_PROTOCOL"] == "none"


def test_output_and_errors_of_a_command(store: Store) -> None:
    oid = object_id("blob", b"x").hex()
    assert run_git(store.path, ["hash-object", "--stdin"], data=b"x").decode().strip() == oid
    with pytest.raises(StoreError, match=r"git cat-file failed in .*: fatal: "):
        run_git(store.path, ["cat-file", "blob", "none"])


def test_no_hook_of_a_repository_runs(store: Store, tmp_path: Path) -> None:
    (store.path / "hooks").mkdir()
    hook = store.path / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    tree = run_git(store.path, ["mktree"]).decode().strip()
    run_git(store.path, ["update-ref", "refs/tags/a", tree])
    assert not (tmp_path / "ran").exists()


def test_a_command_that_is_started(store: Store) -> None:
    with git_command(store.path) as command:
        process = start_git([*command, "rev-parse", "--is-bare-repository"], stderr=subprocess.PIPE)
        output, _ = process.communicate()
    assert output == b"true\n"


def test_the_error_of_a_command() -> None:
    result = call_git([git_program(), "no-such-command"])
    assert result.returncode
    assert "no-such-command" in error_text(result)


def test_a_bare_repository(tmp_path: Path) -> None:
    make_bare(tmp_path / "a" / "b")
    assert run_git(tmp_path / "a" / "b", ["config", "core.fsync"]) == b"all\n"


def test_ignored_paths(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "a.o").touch()
    (folder / "b.o").touch()
    (folder / "c.c").touch()
    (folder / ".gitignore").write_text("*.o\n/out/\n")
    assert sorted(ignored_paths(folder, store.path)) == [b"b.o", b"out/"]
