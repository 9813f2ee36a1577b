"""Damaged caches below `.prov/prov` change no result: each is damaged in place as by a power cut.

The sweeps copy the disturbed folder, so cached stats do not match the copies. Here the files keep
their stats, so prov uses the caches.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cases import built_before, recorded
from tests.faults.shim import Machine
from tests.faults.sweep import SEED, damage

pytestmark = pytest.mark.process

BUILD = ("build", "--force", "library:go", "program")


def _hole(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


def _zero_end(data: bytes) -> bytes:
    return data[: -len(data) // 4] + bytes(len(data) // 4)


TEARS: tuple[Callable[[bytes], bytes], ...] = (
    lambda _data: b"",
    lambda data: data[:-1],
    lambda data: data[:-6],
    lambda data: bytes(len(data)),
    _hole,
    _zero_end,
)


@pytest.mark.parametrize("rounds", [10, pytest.param(400, marks=pytest.mark.faults)])
def test_torn_caches_are_as_good_as_none(machine: Machine, room: Path, rounds: int) -> None:
    root, chance = room / f"torn-{rounds}", random.Random(SEED)
    (root / "recipes").mkdir(parents=True)
    (root / "recipes/given").write_text("given\n")  # a file as new as its capture is read again
    built_before(root)
    text = (root / "recipes/library.toml").read_text()
    text = text.replace("'1'\n", "'1'\nsources = [{ file = 'given' }]\n", 1)
    (root / "recipes/library.toml").write_text(
        text.replace("[tasks.go]\n", "[tasks.go]\ninputs = ['sources']\n")
    )
    done = machine.run(BUILD, root)
    assert done.code == 0, done.said
    wanted, caches = recorded(root), root / ".prov/prov"
    for _ in range(rounds):
        files = [
            path for path in sorted(caches.rglob("*")) if path.is_file() and not path.is_symlink()
        ]
        known = [
            path
            for path in files
            if path.stat().st_size
            and path.relative_to(caches).parts[0] not in ("pool", "pool-open", "locks")
        ]
        assert {"parsed", "sysroots", "sources", "toolchains", "workdirs"} <= {
            path.relative_to(caches).parts[0] for path in known
        }
        torn = chance.sample(known, chance.randint(1, len(known)))
        for path in torn:
            path.write_bytes(chance.choice(TEARS)(path.read_bytes()))
        done = machine.run(BUILD, root)
        context = f"seed {SEED}, {[str(path.relative_to(caches)) for path in torn]}: {done.said}"
        assert done.code == 0, context
        assert damage(root / ".prov") == "", context
        assert recorded(root) == wanted, context
