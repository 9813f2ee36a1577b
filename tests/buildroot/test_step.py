"""Tests of recording steps, with calls as Buildroot makes them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from prov.buildroot.call import StepCall
from prov.buildroot.pending import pending_path, pending_steps, save_pending, saved_pending
from prov.buildroot.step import NO_END, end, finish, start
from prov.errors import CaptureError, ProvError
from prov.records.build_list import BuildList, record_build, walk_builds
from prov.records.lookup import Records
from prov.records.run import author
from prov.store.repository import Store
from prov.wrapped.step import CommandRun


def call(base: Path, moment: str, name: str, **variables: str) -> StepCall:
    """Return a call before or after a step such as `zlib:build`, without sysroots."""
    package, _, step = name.partition(":")
    words = [
        f"--make=20260102-030405-{os.getpid()}",
        f"--directory={base}/build/{package}-1.0",
        f"--package={base}/package/{package}",
        "--needs=",
    ]
    environment = {"BR2_CONFIG": f"{base}/.config", "SECRET": "x", **variables}
    return StepCall.parse([*words, moment, step, package], environment)


def directory(base: Path, package: str) -> Path:
    """Return a package's build directory, after creating it."""
    path = base / f"build/{package}-1.0"
    path.mkdir(parents=True, exist_ok=True)
    return path


def perform(store: Store, base: Path, name: str, text: str = "") -> CommandRun:
    """Record a step that writes a file named as itself."""
    start(store, call(base, "start", name))
    package, _, step = name.partition(":")
    (directory(base, package) / step).write_text(text)
    return end(store, call(base, "end", name))


def happened(store: Store) -> dict[str, str]:
    """Return task -> outcome in the last build, without hashes."""
    build = BuildList.latest(store)
    assert build is not None
    return {key: text.split()[0] for key, text in build.happened().items()}


def parents(store: Store, run: CommandRun) -> bytes:
    """Return the commit before a run."""
    return store.objects.commit(run.commit).parents[0]


def test_a_step_starts_from_the_step_before(store: Store, base: Path) -> None:
    first = perform(store, base, "zlib:extract")
    second = perform(store, base, "zlib:build")
    assert parents(store, second) == first.commit
    facts = Records(store).facts(second.commit)
    assert (facts["task"], facts["result"]) == ("zlib:build", "ok")
    environment = Records(store).record(second.commit).environment(store.objects)
    assert environment == {"BR2_CONFIG": f"{base}/.config"}


def test_stamps_are_no_changes(store: Store, base: Path) -> None:
    first = perform(store, base, "zlib:extract")
    (directory(base, "zlib") / ".stamp_extracted").touch()
    assert parents(store, perform(store, base, "zlib:build")) == first.commit


def test_changes_between_steps_are_a_commit_of_their_own(store: Store, base: Path) -> None:
    first = perform(store, base, "zlib:extract")
    (directory(base, "zlib") / "edited").touch()
    between = parents(store, perform(store, base, "zlib:build"))
    assert store.objects.commit(between).parents[0] == first.commit


def test_a_directory_that_was_deleted_starts_empty(store: Store, base: Path) -> None:
    perform(store, base, "zlib:extract", "1\n")
    (directory(base, "zlib") / "extract").unlink()
    directory(base, "zlib").rmdir()
    again = perform(store, base, "zlib:extract", "2\n")
    assert store.objects.commit(parents(store, again)).parents == ()


def test_a_label_of_the_caller_joins_calls_of_make(store: Store, base: Path) -> None:
    for name in ("zlib:extract", "lua:extract"):
        start(store, call(base, "start", name, PROV_BUILD="ci-1"))
        directory(base, name.partition(":")[0])
        end(store, call(base, "end", name, PROV_BUILD="ci-1"))
    assert happened(store) == {"zlib:extract": "ran", "lua:extract": "ran"}


def test_a_label_of_another_kind_of_build_is_an_error(store: Store, base: Path) -> None:
    record_build(store, [], {}, {"targets": "x:y"}, author(0), label="release")
    with pytest.raises(ProvError, match="--build release"):
        start(store, call(base, "start", "zlib:extract", PROV_BUILD="release"))


def test_steps_at_the_same_time_are_all_recorded(store: Store, base: Path) -> None:
    packages = [f"p{number}" for number in range(4)]

    def build(package: str) -> None:
        own = Store.open(store.path)
        for step in ("extract", "configure", "build"):
            perform(own, base, f"{package}:{step}")

    with ThreadPoolExecutor() as pool:
        list(pool.map(build, packages))
    (build_list,) = walk_builds(BuildList.latest(store))
    steps = {f"{name}:{step}" for name in packages for step in ("extract", "configure", "build")}
    assert set(build_list.happened()) == steps
    assert list(pending_steps(store)) == []


def test_two_steps_of_a_package_may_overlap(store: Store, base: Path) -> None:
    perform(store, base, "zlib:build")
    for name in ("zlib:install-target", "zlib:install-image"):
        start(store, call(base, "start", name))
    for name in ("zlib:install-target", "zlib:install-image"):
        end(store, call(base, "end", name))
    assert set(happened(store).values()) == {"ran"}
    assert len(happened(store)) == 3


def test_a_running_make_has_no_failed_steps(store: Store, base: Path) -> None:
    directory(base, "zlib")
    start(store, call(base, "start", "zlib:build"))
    assert finish(store) == ([], [])
    assert len(list(pending_steps(store))) == 1


def fail(store: Store, base: Path, name: str) -> None:
    """Start a step of a `make` that then ends."""
    before = call(base, "start", name)
    start(store, before)
    pending = saved_pending(store, before)
    assert pending is not None
    # another process has the id of that `make` now
    save_pending(store, replace(pending, make_began=1))


def test_the_next_step_records_a_failed_one_first(store: Store, base: Path) -> None:
    (directory(base, "zlib") / "half").write_text("left by the failed step\n")
    fail(store, base, "zlib:build")
    (directory(base, "zlib") / "more").touch()
    perform(store, base, "lua:extract")
    assert happened(store) == {"zlib:build": "failed", "lua:extract": "ran"}
    assert len(list(walk_builds(BuildList.latest(store)))) == 1


def test_a_failed_step_is_recorded_once_with_its_reason(store: Store, base: Path) -> None:
    directory(base, "zlib")
    fail(store, base, "zlib:build")
    (run,) = finish(store).runs
    assert Records(store).facts(run.commit)["result"] == f"failed: {NO_END}"
    assert finish(store) == ([], [])


def test_a_failed_step_whose_directory_was_deleted_is_dropped(store: Store, base: Path) -> None:
    directory(base, "zlib")
    fail(store, base, "zlib:build")
    directory(base, "zlib").rmdir()
    assert finish(store) == ([], [])
    assert list(pending_steps(store)) == []


def test_an_unreadable_failed_step_stops_no_other(store: Store, base: Path) -> None:
    directory(base, "zlib")
    fail(store, base, "zlib:build")
    (directory(base, "zlib") / ("x" * 200)).mkdir()
    pending = next(iter(pending_steps(store)))
    record_build(store, [], {}, {"targets": "x:y"}, author(0), label=pending.call.build)
    (error,) = start(store, call(base, "start", "lua:extract", PROV_BUILD="other"))
    assert pending.call.build in str(error)
    assert start(store, call(base, "start", "lua:extract", PROV_BUILD="other")) == []


def test_a_step_without_a_start_is_recorded(store: Store, base: Path) -> None:
    first = perform(store, base, "zlib:extract")
    (directory(base, "zlib") / "built").touch()
    second = end(store, call(base, "end", "zlib:build"))
    assert parents(store, second) == first.commit


def test_a_damaged_file_of_a_step_is_ignored(store: Store, base: Path) -> None:
    directory(base, "zlib")
    start(store, call(base, "start", "zlib:build"))
    pending_path(store, call(base, "start", "zlib:build")).write_bytes(b"\x80")
    assert end(store, call(base, "end", "zlib:build")).code == 0


def test_an_end_without_a_directory_is_an_error(store: Store, base: Path) -> None:
    with pytest.raises(CaptureError, match="is not a directory"):
        end(store, call(base, "end", "zlib:build"))
