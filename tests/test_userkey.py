"""The user's key: created once, private, and read only if no other user can have written it."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from prov import userkey
from prov.userkey import is_own, keyed_digest


@pytest.fixture(autouse=True)
def forgotten() -> None:
    userkey._key.cache_clear()


def key_in(home: Path) -> Path:
    return home / ".local" / "state" / "prov" / "key"


def test_a_key_is_created_private_and_used_again(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    first = keyed_digest(b"purpose data", environment)
    path = key_in(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["key"]
    userkey._key.cache_clear()
    assert keyed_digest(b"purpose data", environment) == first
    assert first == hmac.digest(path.read_bytes(), b"purpose data", hashlib.sha256)
    assert first == keyed_digest(b"purpose ", environment, content=memoryview(b"data"))
    assert first is not None
    assert is_own(b"purpose data", first, environment)
    assert not is_own(b"purpose dat4", first, environment)


def test_the_state_folder_of_the_environment_is_used(tmp_path: Path) -> None:
    assert keyed_digest(
        b"", {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
    )
    assert (tmp_path / "state" / "prov" / "key").is_file()
    assert not (tmp_path / "home").exists()


def test_two_homes_have_two_keys(tmp_path: Path) -> None:
    digests = {keyed_digest(b"", {"HOME": str(tmp_path / name)}) for name in ("a", "b")}
    assert len(digests) == 2


@pytest.mark.parametrize(
    "environment", [{}, {"HOME": ""}, {"HOME": "relative"}, {"XDG_STATE_HOME": "relative"}]
)
def test_without_a_home_there_is_no_digest(environment: dict[str, str]) -> None:
    assert keyed_digest(b"", environment) is None
    assert not is_own(b"", b"", environment)


def test_a_home_that_is_not_a_folder_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert keyed_digest(b"", {"HOME": str(tmp_path / "home")}) is None


def replaced_by_a_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def readable_by_others(path: Path) -> None:
    path.chmod(0o640)


def too_short(path: Path) -> None:
    path.write_bytes(b"x" * 31)


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("disturb", [replaced_by_a_link, readable_by_others, too_short, a_fifo])
def test_a_key_that_others_may_know_is_not_used(tmp_path: Path, disturb) -> None:  # type: ignore[no-untyped-def]
    environment = {"HOME": str(tmp_path)}
    digest = keyed_digest(b"", environment)
    assert digest is not None
    disturb(key_in(tmp_path))
    userkey._key.cache_clear()
    assert keyed_digest(b"", environment) is None
    assert not is_own(b"", digest, environment)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", [".local/state/prov", ".local/state/prov/key"])
def test_a_folder_or_a_key_of_another_user_is_not_used(tmp_path: Path, name: str) -> None:
    assert keyed_digest(b"", {"HOME": str(tmp_path)}) is not None
    os.chown(tmp_path / name, 1234, -1)
    userkey._key.cache_clear()
    assert keyed_digest(b"", {"HOME": str(tmp_path)}) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_no_key_in_another_users_home(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, -1)
    assert keyed_digest(b"", {"HOME": str(tmp_path)}) is None
    assert list(tmp_path.iterdir()) == []


def test_processes_that_create_it_at_once_agree(tmp_path: Path) -> None:
    code = "from prov.userkey import keyed_digest; print(keyed_digest(b'').hex())"
    environment = {**os.environ, "HOME": str(tmp_path)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    assert len({child.communicate()[0] for child in children}) == 1
