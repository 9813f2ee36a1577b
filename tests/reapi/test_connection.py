"""The protocol, at a real server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.farm.credentials import create_farm, issue
from prov.reapi.address import Address, ClientCredentials
from prov.reapi.blobs import BlobDigest, blob_of
from prov.reapi.connection import BATCH, Connection, ServerFailed
from tests.commands import PROV
from tests.farm.machines import outputs, sound, variables
from tests.reapi.server import Server, write_server_project
from tests.reapi.tls import tls_proxy

pytestmark = pytest.mark.process

APP = {
    "app": 'version = "1"\nbuild = ["go"]\n[tasks.go]\nscript = "echo x > out/x"\noutputdir = "out"'
}


@pytest.fixture
def connection(server: Server) -> Connection:
    return Connection.open(Address.parse(server.url), ClientCredentials())


def test_contents_are_uploaded_once(connection: Connection, tmp_path: Path) -> None:
    blobs = [blob_of(b"small"), blob_of(bytes(BATCH + 1)), blob_of(b"")]
    blobs += [blob_of(b"%d" % number * 300_000) for number in range(20)]
    connection.upload(blobs)
    size = connection.uploaded
    assert size >= BATCH
    connection.forget()
    connection.upload(blobs)
    assert connection.uploaded == size
    connection.download(
        [(blob.digest, tmp_path / f"{number}") for number, blob in enumerate(blobs)]
    )
    for number, blob in enumerate(blobs):
        assert (tmp_path / f"{number}").read_bytes() == blob.read()
    assert connection.read(blobs[0].digest, 5) == b"small"


def test_missing_contents_are_reported(connection: Connection, tmp_path: Path) -> None:
    digest = BlobDigest.of(b"never uploaded")
    with pytest.raises(ServerFailed, match="cannot read the content"):
        connection.download([(digest, tmp_path / "x")])
    with pytest.raises(ServerFailed, match="not found"):
        connection.read(digest, 100)
    with pytest.raises(ServerFailed, match="limit is 3"):
        connection.read(digest, 3)


def test_tls_authenticates_both_sides(server: Server, tmp_path: Path) -> None:
    authority = create_farm(tmp_path / "farm", ["localhost"])
    own = issue(authority.folder, tmp_path / "own", "client", "worker")
    project = write_server_project(tmp_path / "project", APP)
    with tls_proxy(authority, server.port) as port:
        url = f"grpcs://localhost:{port}"
        done = build(project, server, url, own.folder)
        assert done.returncode == 0, done.stderr
        assert f"{url}: 1 actions" in done.stderr
        sound(project)
        assert any("app/go" in name for name in outputs(project))
        stranger = create_farm(tmp_path / "other", ["localhost"])
        done = build(project, server, url, stranger.folder)
        assert done.returncode == 1
        assert f"{url}: unavailable" in done.stderr


def build(
    project: Path, server: Server, url: str, credentials: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROV, "build", "--rebuild", f"--farm={url}", f"--credentials={credentials}", "world"],
        cwd=project,
        env=variables(server.home),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
