"""Claims of a build that cannot wait for single tasks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.claims.keeper import claimed_remote
from prov.claims.remote_claims import Claims
from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.git_remote import GitRemote
from prov.remote.settings import Remote
from prov.sharing.claiming import ResultClaims, wait_for_others
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.transport.access import Access
from tests.remote.story import git, until

pytestmark = pytest.mark.process

WORDS, OTHER = StaticKey(b"w" * 20), StaticKey(b"o" * 20)
NAMES: dict[Oid, str] = {WORDS: "words:do_stage", OTHER: "other:do_package"}


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "cache"], check=True)
    return Remote("team", f"file://{tmp_path}/cache", push=True, trust="none", claims=True)


def claims_at(remote: Remote) -> set[str]:
    refs = git(Path(remote.url.removeprefix("file://")), "for-each-ref", "--format=%(refname)")
    return {ref.rpartition("/")[2] for ref in refs.split() if "/claims/" in ref}


def test_the_first_remote_for_claims_is_used(remote: Remote) -> None:
    plain, static = Remote("a", "file:///a"), Remote("b", "http://b", claims=True, static=True)
    assert claimed_remote([plain, static]) is None
    assert claimed_remote([plain, static, remote]) is remote


def test_a_recipe_is_claimed_with_its_first_task(store: Store, remote: Remote) -> None:
    claims = ResultClaims(store, remote, Access({}))
    claims.expect("words", WORDS)
    claims.expect("other", OTHER)
    claims.begin("none")
    assert claims_at(remote) == set()
    claims.begin("words")
    claims.begin("words")
    until(lambda: claims_at(remote) == {WORDS.hex()}, "the recipe is claimed")
    claims.made(TaskKey("unknown:do_x"), TaskHash(b"h" * 20), OTHER)
    claims.close()
    until(lambda: claims_at(remote) == set(), "the claims are released")


def test_a_build_that_does_not_publish_claims_nothing(store: Store, remote: Remote) -> None:
    quiet = Remote("team", remote.url, trust="none", claims=True)
    claims = ResultClaims(store, quiet, Access({}))
    claims.expect("words", WORDS)
    claims.begin("words")
    claims.made(TaskKey("words:do_stage"), TaskHash(b"h" * 20), WORDS)
    claims.close()
    assert claims_at(remote) == set()


def test_a_wait_ends(store: Store, remote: Remote) -> None:
    notes: list[str] = []
    opened = GitRemote(remote, store, Access({}))

    def wait(seconds: float) -> bool:
        return wait_for_others(store, remote, Access({}), NAMES, seconds, notes.append)

    assert wait(10.0) is False
    assert notes == []
    with opened.scratch() as scratch:
        Claims(opened, scratch, "host").take({WORDS: None})
        assert wait(0.5) is False
    assert notes == ["waiting for builds elsewhere that run words:do_stage"]
