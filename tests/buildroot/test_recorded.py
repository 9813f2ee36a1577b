"""Replay the calls of a real Buildroot, in real directories."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import groupby
from pathlib import Path

import pytest

from prov.buildroot import step
from prov.history.blame import blame
from prov.history.file_names import find_file
from prov.history.why import why
from prov.records.build_list import BuildList, walk_builds
from prov.records.entries import SYSROOT_NATIVE, SYSROOT_TARGET, WHOLE
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import part_at, read_run_record
from prov.records.refs import RunRef
from prov.store.repository import Store
from prov.worktree.attributes import walk
from tests.buildroot.real import EXTERNAL
from tests.buildroot.replay import CONFIG, RecordedCall, recorded_calls

pytestmark = pytest.mark.process

HEADER = "x86_64-buildroot-linux-gnu/sysroot/usr/include/words.h"


def perform(store: Store, call: RecordedCall, base: Path, pid: int) -> None:
    """Change the files as before a call, and record it."""
    parsed = call.replay(base, pid)
    if parsed.is_start:
        assert step.start(store, parsed) == []
    else:
        step.end(store, parsed)


def replay(store: Store, base: Path, *, old: str = "", new: str = "") -> None:
    """Perform all calls with `old` replaced by `new`; each `make` ends before the next one."""
    for _, calls in groupby(recorded_calls(base, old, new), key=lambda call: call.make):
        with subprocess.Popen(["sleep", "600"]) as make:
            for call in calls:
                perform(store, call, base, make.pid)
            make.kill()


def builds(store: Store) -> list[BuildList]:
    """Return all builds, the oldest first."""
    return list(walk_builds(BuildList.latest(store)))[::-1]


def happened(build: BuildList) -> dict[str, str]:
    """Return task -> outcome, without hashes."""
    return {key: text.split()[0] for key, text in build.happened().items()}


def paths_in(store: Store, build: BuildList, name: str, part: str) -> dict[str, bytes]:
    """Return each file in a part of a run's record with its content."""
    line = build.line(TaskKey(name))
    assert line is not None
    commit = store.refs.get(str(RunRef(line.key, line.task_hash, line.run)))
    assert commit is not None
    entry = part_at(store.objects, read_run_record(store.objects, commit).tree, part)
    assert entry is not None
    nodes = walk(store.objects, read_pair(store.objects, entry.oid))
    return {os.fsdecode(path): store.objects.blob(node.oid) for path, node in nodes if node.oid}


def test_each_make_is_a_build(store: Store, base: Path) -> None:
    replay(store, base)
    failed, completed = builds(store)
    assert happened(failed) == {
        **{f"host-skeleton:{name}": "ran" for name in ("download", "extract", "patch")},
        **{f"host-skeleton:{name}": "ran" for name in ("configure", "build", "install-host")},
        **{f"words:{name}": "ran" for name in ("rsync", "configure", "build", "install-staging")},
        **{f"greet:{name}": "ran" for name in ("rsync", "configure")},
        "greet:build": "failed",
    }
    assert happened(completed) == {
        **{f"greet:{name}": "ran" for name in ("build", "install-target")},
        **{f"host-greet:{name}": "ran" for name in ("rsync", "configure", "build", "install-host")},
    }
    assert (failed.facts()["result"], completed.facts()["result"]) == ("failed", "ok")


def test_the_sysroots_of_a_step_contain_its_dependencies(store: Store, base: Path) -> None:
    replay(store, base)
    failed, completed = builds(store)
    header = {HEADER: b'#define GREETING "hello"\n'}
    assert header.items() <= paths_in(store, failed, "greet:configure", SYSROOT_NATIVE).items()
    assert header.items() <= paths_in(store, completed, "greet:build", SYSROOT_NATIVE).items()
    assert HEADER not in paths_in(store, failed, "words:install-staging", SYSROOT_NATIVE)
    assert paths_in(store, completed, "greet:install-target", SYSROOT_TARGET) == {}


def test_the_output_of_an_install_step_is_what_it_installed(store: Store, base: Path) -> None:
    replay(store, base)
    failed, completed = builds(store)
    output = paths_in(store, failed, "words:install-staging", "output")
    assert set(output) == {f"host/{HEADER}"}
    assert set(paths_in(store, completed, "greet:install-target", "output")) == {
        "target/usr/bin/greet"
    }


def test_stamps_of_buildroot_are_no_content(store: Store, base: Path) -> None:
    replay(store, base)
    assert (base / "build/greet-1.0/.stamp_built").exists()
    _, completed = builds(store)
    assert set(paths_in(store, completed, "greet:build", WHOLE.decode())) == {"greet", "main.c"}


def test_blame_leads_from_an_installed_file_to_the_step_that_built_it(
    store: Store, base: Path
) -> None:
    replay(store, base)
    installed = find_file(store, "greet:install-target@output/target/usr/bin/greet")
    assert [made.key for made in blame(store, installed).steps] == ["greet:build"]
    header = find_file(store, f"greet:build@sysroot-native/{HEADER}")
    answer = blame(store, header)
    assert [made.key for made in answer.steps] == ["words:build"]
    assert "words.mk" in dict(answer.sources)


def test_why_follows_a_changed_dependency(store: Store, base: Path) -> None:
    replay(store, base)
    for name in ("build", "per-package"):
        shutil.rmtree(base / name)
    completed = builds(store)[-1].commit.hex()
    replay(store, base, old="GREETING", new="FAREWELL")
    (cause,) = why(store, "greet:build", against=completed).causes
    assert cause.key == "words:build"
    assert cause.chain == ("words:build", "words:install-staging", "greet:build")


def test_why_names_changed_options_and_sources(store: Store, base: Path, tmp_path: Path) -> None:
    replay(store, base)
    for name in ("build", "per-package"):
        shutil.rmtree(base / name)
    (base / ".config").write_text(CONFIG.replace("x86_64", "aarch64"))
    external = shutil.copytree(EXTERNAL, tmp_path / "external")
    with (external / "package/words/words.mk").open("a") as makefile:
        makefile.write("# changed\n")
    replay(store, base, old=str(EXTERNAL), new=str(external))
    (cause,) = why(store, "words:rsync").causes
    assert [change.title for change in cause.changes] == ["source words.mk", "config"]
