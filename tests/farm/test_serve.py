"""The https server of exchanges: git as the client, with certificates and without."""

from __future__ import annotations

import http.client
import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.farm.credentials import Credentials, create_farm, issue
from prov.farm.serve import serving
from prov.transport.git import make_scratch

pytestmark = pytest.mark.process

NAME = "0123456789abcdef"


@pytest.fixture
def farm(tmp_path: Path) -> Credentials:
    return create_farm(tmp_path / "farm", ["127.0.0.1"])


@pytest.fixture
def worker(farm: Credentials, tmp_path: Path) -> Credentials:
    return issue(farm.folder, tmp_path / "worker", "w1", "worker")


@pytest.fixture
def base(farm: Credentials, tmp_path: Path) -> Iterator[str]:
    make_scratch(tmp_path / "top" / NAME)
    with serving(tmp_path / "top", farm, "127.0.0.1") as base:
        yield base


def git(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "a"}
    environment = {**os.environ, **names, "GIT_COMMITTER_EMAIL": "a", **variables}
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_git_pushes_and_fetches(base: str, worker: Credentials, tmp_path: Path) -> None:
    url, own = f"{base}/{NAME}", worker.git_variables()
    source = tmp_path / "source"
    git("init", "-q", str(source), cwd=tmp_path)
    (source / "large").write_bytes(os.urandom(3_000_000))
    git("add", ".", cwd=source)
    git("commit", "-q", "-m", "x", cwd=source)
    pushed = git("push", "-q", url, "HEAD:refs/incoming/x", cwd=source, **own)
    assert pushed.returncode == 0, pushed.stderr
    commit = git("rev-parse", "HEAD", cwd=source).stdout.strip()
    copy = tmp_path / "copy"
    git("init", "-q", "--bare", str(copy), cwd=tmp_path)
    fetched = git("fetch", "-q", url, commit, cwd=copy, **own)
    assert fetched.returncode == 0, fetched.stderr
    assert git("cat-file", "-s", f"{commit}:large", cwd=copy).stdout == "3000000\n"


def test_strangers_are_refused(
    base: str, farm: Credentials, worker: Credentials, tmp_path: Path
) -> None:
    url, own = f"{base}/{NAME}", worker.git_variables()
    without = {"GIT_SSL_CAINFO": own["GIT_SSL_CAINFO"]}
    assert git("ls-remote", url, cwd=tmp_path, **without).returncode != 0
    stranger = create_farm(tmp_path / "other", [])
    other = stranger.git_variables() | {"GIT_SSL_CAINFO": own["GIT_SSL_CAINFO"]}
    assert git("ls-remote", url, cwd=tmp_path, **other).returncode != 0
    assert git("ls-remote", url, cwd=tmp_path, **own).returncode == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", b"", 404),
        ("GET", f"/{NAME}/config", b"", 404),
        ("GET", f"/../{NAME}/info/refs?service=git-upload-pack", b"", 404),
        ("GET", f"/{'f' * 16}/info/refs?service=git-upload-pack", b"", 404),
        ("GET", f"/{NAME}/info/refs?service=git-shell", b"", 404),
        ("POST", f"/{NAME}/git-upload-archive", b"", 404),
        ("POST", f"/{NAME}/git-upload-pack", b"nonsense", 200),
        ("DELETE", f"/{NAME}", b"", 501),
    ],
)
def test_other_requests(
    base: str, worker: Credentials, method: str, path: str, body: bytes, status: int
) -> None:
    context = ssl.create_default_context(cafile=str(worker.authority))
    context.load_cert_chain(worker.certificate, worker.key)
    host = base.removeprefix("https://")
    connection = http.client.HTTPSConnection(host, context=context, timeout=20)
    connection.request(method, path, body)
    assert connection.getresponse().status == status
    connection.close()
    again = http.client.HTTPSConnection(host, context=context, timeout=20)
    again.request("GET", f"/{NAME}/info/refs?service=git-upload-pack")
    assert again.getresponse().status == 200
