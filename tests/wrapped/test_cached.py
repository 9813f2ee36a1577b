"""Tests of recorded results that replace running a command."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.records.refs import TAGS
from prov.store.repository import Store
from prov.wrapped.cached import CachedRun, run_cached
from prov.wrapped.step import CommandStep
from tests.wrapped.random_scripts import (
    PATH,
    Ended,
    States,
    contents,
    edit,
    run_plain,
    script,
)

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]

ALL_EDITS = int(os.environ.get("EDITS", "0"))
STEP = CommandStep.parse("app:test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one file."""
    path = tmp_path / "src"
    path.mkdir()
    (path / "a").write_text("1\n")
    return path


def run(
    store: Store,
    folder: Path,
    text: str,
    *,
    step: CommandStep = STEP,
    shares: bool = False,
    cc: str = "",
) -> tuple[CachedRun, bytes]:
    """Run a script with the cache; return the run and what was printed."""
    printed: list[bytes] = []
    ran = run_cached(
        store,
        folder,
        step,
        ["sh", "-c", text],
        {"PATH": PATH, "CC": cc},
        printed.append,
        search_path=PATH,
        shares=shares,
    )
    return ran, b"".join(printed)


def test_a_result_is_restored(store: Store, folder: Path) -> None:
    text = "cat a; test -e b; mkdir -p d/e; cat a > d/e/f; chmod 750 d; ln -s e d/l; rm a"
    first, printed = run(store, folder, text)
    assert (first.taken_from, first.doubt, first.run.code, printed) == ("", "", 0, b"1\n")
    after = contents(folder)
    shutil.rmtree(folder / "d")
    (folder / "a").write_text("1\n")
    (folder / "other").write_text("x")
    second, printed = run(store, folder, text)
    assert second.taken_from == first.run.tag
    assert printed == b"1\n"
    assert contents(folder).pop("other")
    assert {path: node for path, node in contents(folder).items() if path != "other"} == after
    assert store.refs.get(TAGS + second.run.tag) == second.run.commit


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("cat a", "echo 2 > a"),
        ("test -e b || echo none", "touch b"),
        ("ls", "touch b"),
        ("test -x a || echo none", "chmod +x a"),
        ("cat d/a || true", "mkdir d; echo 1 > d/a"),
        ("echo 1 > d/x || true", "mkdir d"),
        ("readlink l || true", "ln -s a l"),
        ("cat .git/HEAD", "echo 2 > .git/HEAD"),
        ("echo 2 > a", "chmod 600 a"),
        ("mkdir t; mv a t; cp t/a b", "echo 3 > a"),
        ("ln -s a t; cat t", "echo 3 > a"),
        ("cat a/x || true", "rm a; ln -s a a"),
        ("cat a/x || true", "rm a"),
        ("cat a/x || true", "ln a b; rm a; ln -s b a"),
    ],
)
def test_a_changed_input_runs_the_command(
    store: Store, folder: Path, tmp_path: Path, text: str, change: str
) -> None:
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("1\n")
    time.sleep(0.05)  # a file written just before the command could be written during it
    states = States(folder, tmp_path)
    before = states.save()
    first, _ = run(store, folder, text)
    assert not first.doubt
    states.restore(before)
    second, _ = run(store, folder, text)
    assert second.taken_from
    states.restore(before)
    run_plain(change, folder, {"PATH": PATH})
    third, _ = run(store, folder, text)
    assert not third.taken_from
    states.restore(before)
    assert run(store, folder, text)[0].taken_from
    assert run(store, folder, text, cc="gcc")[0].taken_from == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cat /proc/self/stat > /dev/null", "the command uses /proc/self/stat"),
        ("echo 1 > ../outside", "outside, which is not recorded"),
        ("echo 1 > .git", "/.git, which is not recorded"),
        ("mkfifo f", "f is a device, a FIFO or a socket"),
        ("ln a b", "is a hardlink"),
        ("sleep 2 > /dev/null 2>&1 &", "a process outlives the command"),
        ("python3 -c 'import socket; socket.socket()'", "the command opens a network socket"),
    ],
)
def test_results_that_cannot_be_used_again(store: Store, folder: Path, text: str, why: str) -> None:
    first, _ = run(store, folder, text)
    assert why in first.doubt
    assert not run(store, folder, text)[0].taken_from


def test_a_failed_command_runs_again(store: Store, folder: Path) -> None:
    for _ in range(2):
        ran, _ = run(store, folder, "exit 3")
        assert (ran.taken_from, ran.doubt, ran.run.code) == ("", "", 3)


def test_a_result_with_the_path_of_its_directory_stays_there(store: Store, folder: Path) -> None:
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    assert not run(store, folder, "cat a > b")[0].taken_from
    assert run(store, other, "cat a > b")[0].taken_from
    assert (other / "b").read_text() == "1\n"
    assert not run(store, folder, "pwd > c")[0].taken_from
    assert not run(store, other, "pwd > c")[0].taken_from
    (folder / "c").unlink()
    assert run(store, folder, "pwd > c")[0].taken_from
    assert (other / "c").read_text() == f"{other}\n"


def test_the_command_gets_only_recorded_variables_and_no_input(store: Store, folder: Path) -> None:
    printed: list[bytes] = []
    environment = {"PATH": PATH, "SECRET": "x", "LANG": "C", "MAKEFLAGS": "--jobserver-auth=3,4"}
    command = ["sh", "-c", "env; cat"]
    run_cached(store, folder, STEP, command, environment, printed.append, search_path=PATH)
    lines = b"".join(printed).decode().splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert {"PATH", "LANG"} <= names
    assert not names & {"SECRET", "MAKEFLAGS"}


def test_strace_is_needed_to_run_but_not_to_restore(store: Store, folder: Path) -> None:
    command, environment = ["sh", "-c", "cat a"], {"PATH": PATH}
    with pytest.raises(ProvError, match="strace is not installed"):
        run_cached(store, folder, STEP, command, environment, len, search_path="/none")
    run_cached(store, folder, STEP, command, environment, len, search_path=PATH)
    ran = run_cached(store, folder, STEP, command, environment, len, search_path="/none")
    assert ran.taken_from


def test_several_lists_of_paths_are_tried(store: Store, folder: Path) -> None:
    text = "read -r name < a; cat $name 2> /dev/null || true"
    for _ in range(2):
        taken = []
        for number in range(5):
            (folder / "a").write_text(f"f{number}\n")
            taken.append(bool(run(store, folder, text)[0].taken_from))
    assert taken == [True] * 5


def check_edits(store: Store, tmp_path: Path, seed: int, count: int) -> tuple[int, int]:
    """Compare cached runs with plain ones after random edits.

    Returns the numbers of restored results, and of results that can be restored.
    """
    rng = random.Random(seed)
    folder = tmp_path / f"src-{seed}"
    folder.mkdir()
    saved = tmp_path / f"saved-{seed}"
    saved.mkdir()
    states = States(folder, saved)
    scripts = [script(rng) for _ in range(4)]
    restored = usable = 0
    for number in range(count):
        if states.kept and rng.random() < 0.5:
            states.restore(rng.choice(states.kept))
        if rng.random() < 0.7:
            edit(rng, folder)
        text = rng.choice(scripts)
        environment = {"PATH": PATH, "CC": rng.choice(("gcc", "gcc", "clang"))}
        before = states.save()
        ran, printed = run(store, folder, text, cc=environment["CC"])
        cached = Ended(ran.run.code, printed, contents(folder))
        states.restore(before)
        plain = run_plain(text, folder, environment)
        assert cached == plain, f"seed {seed}, edit {number}: {ran}\n{text}"
        restored += bool(ran.taken_from)
        usable += not ran.doubt and ran.run.code == 0
    shutil.rmtree(saved)
    return restored, usable


def test_random_edits_give_no_stale_result(store: Store, tmp_path: Path) -> None:
    results = [check_edits(store, tmp_path, seed, 12) for seed in range(3)]
    assert sum(restored for restored, _ in results) > 0


@pytest.mark.cached
@pytest.mark.skipif(not ALL_EDITS, reason="`make cached` makes ten thousand edits")
def test_many_random_edits_give_no_stale_result(store: Store, tmp_path: Path) -> None:
    edits = restored = usable = 0
    seed = int(os.environ.get("SEED", "1000"))
    while edits < ALL_EDITS:
        some = check_edits(Store.create(tmp_path / f"store-{seed}"), tmp_path, seed, 50)
        edits, restored, usable = edits + 50, restored + some[0], usable + some[1]
        shutil.rmtree(tmp_path / f"store-{seed}")
        shutil.rmtree(tmp_path / f"src-{seed}")
        print(f"{edits} edits: {restored} of {usable} results restored", flush=True)
        seed += 1
    assert restored > ALL_EDITS / 10
