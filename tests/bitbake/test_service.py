"""Workers keep the store open between requests, and detect that it was replaced."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.bitbake import service as module
from prov.bitbake.service import Service
from prov.bitbake.workers import MOST_IDLE
from prov.errors import ProvError
from prov.store.joining import PACKS_TO_CONSOLIDATE
from prov.store.repository import Store
from tests.bitbake.recorded import Replayed, read
from tests.bitbake.story import TASKS

MADE = 12
"""Number of requests after which a test disturbs the build."""


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Replayed]:
    replayed = Replayed(tmp_path / "build")
    yield replayed
    replayed.stop()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "store", {})


def store_text(service: Service, text: str) -> bytes:
    with service.store().objects.writer() as writer:
        return writer.add("blob", text.encode())


def pack_count(store: Store) -> int:
    return len(list(store.objects.folder.glob("*.pack")))


@pytest.mark.process
def test_a_build_needs_few_workers(fresh: Replayed) -> None:
    fresh.begin()
    *lines, end = read("first", str(fresh.root))
    for line in lines:
        assert fresh.say(line) == {}
    # a task that ends is answered before its record is complete, so the next may need a worker
    assert 1 <= len(fresh.writers()) - 1 <= MOST_IDLE < len(lines) / 4
    fresh.end(end)
    assert fresh.writers() == []


@pytest.mark.process
@pytest.mark.parametrize("moves", [False, True])
def test_store_that_vanishes_during_a_build_is_made_again(fresh: Replayed, *, moves: bool) -> None:
    fresh.begin()
    *lines, end = read("first", str(fresh.root))
    for line in lines[:MADE]:
        assert fresh.say(line) == {}
    if moves:
        (fresh.root / ".prov").rename(fresh.root / "moved")
    else:
        shutil.rmtree(fresh.root / ".prov")
    for line in lines[MADE:]:
        assert fresh.say(line) == {}
    assert fresh.end(end)[-1]["recorded"]
    # nothing relies on what only the other store has
    fresh.is_clean()
    assert fresh.recorded() >= {"app:do_notes", "app:do_stage"}


@pytest.mark.process
def test_killed_workers_are_replaced(fresh: Replayed) -> None:
    """What they were recording is lost, and reported."""
    fresh.begin()
    *lines, end = read("first", str(fresh.root))
    for line in lines[:MADE]:
        assert fresh.say(line) == {}
    workers = fresh.writers()[1:]
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    fresh.wait(lambda: len(fresh.writers()) == 1, "the workers are dead")
    for line in lines[MADE:]:
        assert fresh.say(line) == {}
    lost = {word["lost"] for word in fresh.end(end) if "lost" in word}
    assert len(lost) <= len(workers)
    assert TASKS - lost <= fresh.recorded() <= TASKS
    fresh.is_clean()


def test_store_stays_open(service: Service) -> None:
    assert service.store() is service.store()


def test_another_store_at_the_path_is_opened(service: Service) -> None:
    before = service.store()
    service.store_path.rename(service.store_path.with_name("moved"))
    assert service.store() is not before
    assert Store.open(service.store_path)


def test_packs_are_joined_between_requests(service: Service) -> None:
    for number in range(PACKS_TO_CONSOLIDATE):
        store_text(service, f"text {number}")
    service.tidy()
    store = service.store()
    assert pack_count(store) < PACKS_TO_CONSOLIDATE
    store_text(service, "another")
    service.tidy()
    assert pack_count(store) < PACKS_TO_CONSOLIDATE


def test_errors_while_tidying_are_ignored(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.tidy()  # no request has opened the store
    service.store()

    def fail(_objects: object) -> int:
        raise ProvError("no space")

    monkeypatch.setattr(module, "consolidate", fail)
    service.tidy()


def test_few_texts_are_remembered(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TEXTS", 2)
    texts = service._open().texts
    for number in range(3):
        texts[str(number)] = bytes(20)
    service.tidy()
    assert not texts
