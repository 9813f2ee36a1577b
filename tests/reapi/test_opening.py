"""A server that cannot run tasks is refused by name, before the first task."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.commands import run_prov
from tests.reapi.server import Server, serving, write_server_project

pytestmark = pytest.mark.process

APP = {
    "app": 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo x > out/x"\noutputdir = "out"'
}


def test_a_server_without_the_sandbox_is_refused(tmp_path: Path) -> None:
    project = write_server_project(tmp_path / "project", APP)
    with serving(tmp_path / "server", has_sandbox=False) as server:
        done = server.build(project, "world")
    assert done.returncode == 1
    assert f"{server.url} cannot run tasks: " in done.stderr
    assert "bwrap" in done.stderr
    assert "hint: install bubblewrap and git on its workers" in done.stderr
    assert "ran" not in done.stdout


def test_a_server_without_the_interpreter_is_refused(server: Server, tmp_path: Path) -> None:
    project = write_server_project(tmp_path / "project", APP)
    with (project / "prov.toml").open("a") as settings:
        settings.write('python = "python9"\n')
    done = server.build(project, "world")
    assert done.returncode == 1
    assert f"{server.url} cannot run tasks: python9 failed with status 127" in done.stderr
    assert "hint: install python9" in done.stderr


def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    project = write_server_project(tmp_path / "project", APP)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    done = run_prov("build", f"--farm=grpc://127.0.0.1:{port}", "world", cwd=project)
    assert done.returncode == 1
    assert f"grpc://127.0.0.1:{port}: unavailable" in done.stderr
    assert "hint: check the address" in done.stderr


@pytest.mark.parametrize("url", ["grpc://build1:80", "grpcs://bad host", "grpc://127.0.0.1:1/a b"])
def test_an_invalid_address_is_reported(tmp_path: Path, url: str) -> None:
    project = write_server_project(tmp_path / "project", APP)
    done = run_prov("build", f"--farm={url}", "world", cwd=project)
    assert done.returncode == 1
    assert url in done.stderr
    assert "hint: use grpcs://" in done.stderr
