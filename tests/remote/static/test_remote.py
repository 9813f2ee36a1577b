"""Read a static cache behind a web server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.remote.conftest import Machines
from tests.remote.keys import allow, make_ssh_key
from tests.remote.story import Machine, git
from tests.servers.fixtures import Servers
from tests.servers.server import Server

pytestmark = pytest.mark.process


@pytest.fixture(params=[True, False], ids=["ranges", "whole files"])
def web(request: pytest.FixtureRequest, static_server: Servers, tmp_path: Path) -> Server:
    (tmp_path / "www").mkdir()
    server: Server = static_server(tmp_path / "www", ranges=request.param)
    return server


def exporter(machines: Machines, web: Server, *options: str) -> Machine:
    one: Machine = machines("one", None, built=True)
    one.prov("export", str(web.folder / "cache"), *options)
    return one


def test_a_build_fetches_from_a_static_cache(machines: Machines, web: Server) -> None:
    one = exporter(machines, web)
    other = machines("other")
    other.add("mirror", web.url("cache"))
    assert other.build() == "1 fetched"
    assert other.deployed() == other.wanted()
    other.is_clean()
    # a change transfers only new objects
    one.change("second")
    one.build()
    one.prov("export", str(web.folder / "cache"))
    other.change("second")
    before = len(web.requests(at_least=1))
    assert other.build() == "1 fetched"
    assert other.deployed() == other.wanted()
    rows = web.requests(at_least=before + 1)[before:]
    assert sum("prov-cache" in row for row in rows) <= 2
    assert not [row for row in rows if "00000001.idx" in row or "publications/00000001" in row]
    if all(" 206 " in row for row in rows if ".bundle" in row):
        sent = sum(int(row.split()[3]) for row in rows if ".bundle" in row)
        whole = sum(
            path.stat().st_size for path in (web.folder / "cache" / "bundles").glob("*.bundle")
        )
        assert sent < whole / 4


def test_existing_results_are_not_written_again(machines: Machines, web: Server) -> None:
    one = exporter(machines, web)
    before = {
        path: path.read_bytes() for path in (web.folder / "cache").rglob("*") if path.is_file()
    }
    assert one.ask("export", str(web.folder / "cache")).startswith("0 results written")
    one.change("second")
    one.build()
    one.prov("export", str(web.folder / "cache"))
    for path, content in before.items():
        assert path.name == "prov-cache" or path.read_bytes() == content


def test_git_reads_its_bundles(machines: Machines, web: Server, tmp_path: Path) -> None:
    one = exporter(machines, web)
    one.change("second")
    one.build()
    one.prov("export", str(web.folder / "cache"))
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "read.git"], check=True)
    for bundle in sorted((web.folder / "cache" / "bundles").glob("*.bundle")):
        git(tmp_path / "read.git", "bundle", "verify", "--quiet", str(bundle))
        git(tmp_path / "read.git", "fetch", "--quiet", str(bundle), "+refs/*:refs/*")
    git(tmp_path / "read.git", "fsck", "--strict")
    assert (
        git(
            tmp_path / "read.git", "rev-list", "--count", "--grep=^content$", "prov/content"
        ).strip()
        == "2"
    )


def test_trust_by_keys(machines: Machines, web: Server, tmp_path: Path) -> None:
    good, bad = make_ssh_key(tmp_path, "good"), make_ssh_key(tmp_path, "bad")
    exporter(machines, web, "--key", str(bad))
    other = machines("other")
    allow(tmp_path / "signers", good)
    other.prov("remote", "add", "mirror", web.url("cache"), "--signers", str(tmp_path / "signers"))
    assert "ran" in other.build()
    assert "signed with a key that is not in the signers file (key SHA256:" in other.said
    third = machines("third")
    allow(tmp_path / "signers", bad)
    third.prov("remote", "add", "mirror", web.url("cache"), "--signers", str(tmp_path / "signers"))
    assert third.build() == "1 fetched"


@pytest.mark.parametrize(
    "part", ["bundles/00000001.bundle", "bundles/00000001.idx", "publications/00000001"]
)
@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_damaged_files_are_not_used(
    part: str, harm: str, machines: Machines, static_server: Servers, tmp_path: Path
) -> None:
    (tmp_path / "www").mkdir()
    web = static_server(tmp_path / "www")
    exporter(machines, web)
    path = web.folder / "cache" / part
    data = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(
            data[: len(data) // 2] if harm == "cut" else bytes(byte ^ 0x55 for byte in data)
        )
    other = machines("other")
    other.add("mirror", web.url("cache"))
    assert "ran" in other.build()
    assert "mirror" in other.said
    assert other.deployed() == other.wanted()
    other.is_clean()


def test_a_static_cache_is_read_only(machines: Machines, web: Server) -> None:
    one = exporter(machines, web)
    one.add("mirror", web.url("cache"))
    assert "read-only" in one.complaint("push", "--remote", "mirror")
    assert "read-only" in one.complaint("remote", "gc", "mirror")
    one.write("www/else", "x\n")
    assert "is not a static cache" in one.complaint("export", str(one.root / "www"))
