"""Checks of remotes: whether they answer, and whether publications are signed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prov.doctor.machine import State
from prov.doctor.remotes import check_remotes
from prov.remote.settings import make_remote
from prov.store.git import make_bare
from prov.store.repository import Store
from prov.transport.access import Access

pytestmark = pytest.mark.process


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def states(store: Store, folder: Path, **settings: object) -> dict[str, State]:
    """Return text -> state of each finding about a remote in a folder."""
    remote = make_remote("team", f"file://{folder}", folder.parent, **settings)  # type: ignore[arg-type]
    findings = list(check_remotes(store, [remote], Access(dict(os.environ))))
    assert all(bool(finding.advice) == (finding.state != State.OK) for finding in findings)
    return {finding.text: finding.state for finding in findings}


def test_a_remote_that_answers_is_ok(store: Store, tmp_path: Path) -> None:
    make_bare(tmp_path / "cache")
    assert states(store, tmp_path / "cache") == {"answers": State.OK}


def test_a_missing_remote_is_an_error(store: Store, tmp_path: Path) -> None:
    [(text, state)] = states(store, tmp_path / "none").items()
    assert (state, text.startswith("remote team: ")) == (State.ERROR, True)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_the_signing_key_is_tried(store: Store, tmp_path: Path) -> None:
    make_bare(tmp_path / "cache")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    cache = tmp_path / "cache"
    assert states(store, cache, push=True)["publications are not signed"] == State.WARNING
    assert states(store, cache, push=True, key=str(key))[f"signs with {key}"] == State.OK
    *_, problem = states(store, cache, push=True, key=str(tmp_path / "no-key")).items()
    assert problem[1] == State.ERROR
