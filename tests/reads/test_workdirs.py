"""Tests of listing what tasks open in their WORKDIRs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prov.reads import workdirs
from prov.reads.growing import APPEARED
from prov.reads.inotify import IN_ISDIR, IN_OPEN
from prov.reads.reads import COMPLETE, NOT_RECORDED, Reads
from prov.reads.workdirs import TaskOpens, WatchedWorkdirs

SYSROOTS = ("sysroot", "sysroot-native")
SKIPPED = re.compile(rb"temp")
BESIDE = "incomplete outside the sysroots: ran at the same time as "
NEEDS_UNSHARE = pytest.mark.skipif(
    subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode != 0,
    reason="unprivileged user namespaces are not available",
)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    top = tmp_path / "work"
    for name in ("src/a.c", "sysroot/usr/include/a.h", "sysroot-native/usr/bin/tool", "temp/log"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("")
    return top


@pytest.fixture
def watched() -> WatchedWorkdirs:
    return WatchedWorkdirs(SYSROOTS, SKIPPED)


def uses(opens: TaskOpens | None) -> dict[str, str]:
    assert opens is not None
    return uses_in(opens.reads(), os.fsdecode(opens.workdir))


def uses_in(reads: Reads, workdir: str) -> dict[str, str]:
    return {os.path.relpath(row.path, workdir): row.kinds for row in reads.rows}


def completeness(opens: TaskOpens | None) -> str:
    assert opens is not None
    return opens.reads().opens


def test_a_task_alone(watched: WatchedWorkdirs, workdir: Path) -> None:
    assert not watched.is_active
    watched.begin(workdir, "a")
    assert watched.is_active
    (workdir / "src/a.c").read_text()
    (workdir / "sysroot/usr/include/a.h").read_text()
    (workdir / "temp/log").read_text()
    os.listdir(workdir)
    opens = watched.end(workdir, "a")
    assert uses(opens) == {"src/a.c": "o", "sysroot/usr/include/a.h": "o", ".": "d"}
    assert opens is not None
    reads = opens.reads()
    assert (reads.opens, reads.probes, reads.toolchain) == (COMPLETE, NOT_RECORDED, NOT_RECORDED)
    assert str(workdir) in {row.path for row in reads.rows}
    assert not watched.is_active


def test_events_before_and_after_a_task_are_not_its(
    watched: WatchedWorkdirs, workdir: Path
) -> None:
    for _ in range(2):
        (workdir / "src/a.c").read_text()
        watched.begin(workdir, "a")
        assert uses(watched.end(workdir, "a")) == {}


def test_what_a_task_creates_is_not_listed(watched: WatchedWorkdirs, workdir: Path) -> None:
    watched.begin(workdir, "a")
    (workdir / "build/deep").mkdir(parents=True)
    (workdir / "build/deep/a.o").write_text("")
    (workdir / "src/new.c").write_text("")
    watched.drain()
    for name in ("build/deep/a.o", "src/new.c", "src/a.c"):
        (workdir / name).read_text()
    assert uses(watched.end(workdir, "a")) == {"src/a.c": "o"}
    watched.begin(workdir, "b")
    (workdir / "build/deep/a.o").read_text()
    assert uses(watched.end(workdir, "b")) == {"build/deep/a.o": "o"}


def test_tasks_in_one_workdir_share_their_opens(watched: WatchedWorkdirs, workdir: Path) -> None:
    watched.begin(workdir, "a")
    (workdir / "src/a.c").read_text()
    watched.begin(workdir, "b")
    for name in ("src/a.c", "sysroot-native/usr/bin/tool"):
        (workdir / name).read_text()
    a = watched.end(workdir, "a")
    (workdir / "sysroot/usr/include/a.h").read_text()
    b = watched.end(workdir, "b")
    assert uses(a) == {"src/a.c": "o", "sysroot-native/usr/bin/tool": "*o"}
    assert uses(b) == {
        "src/a.c": "*o",
        "sysroot-native/usr/bin/tool": "*o",
        "sysroot/usr/include/a.h": "o",
    }
    assert (completeness(a), completeness(b)) == (f"{BESIDE}b", f"{BESIDE}a")
    assert a is not None and a.reads().has_opens_of_sysroots


def test_tasks_in_different_workdirs_share_nothing(
    watched: WatchedWorkdirs, workdir: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("")
    watched.begin(workdir, "a")
    watched.begin(other, "b")
    (other / "file").read_text()
    assert uses(watched.end(workdir, "a")) == {}
    opens = watched.end(other, "b")
    assert (uses(opens), completeness(opens)) == ({"file": "o"}, COMPLETE)


def test_captures_read_nothing(watched: WatchedWorkdirs, workdir: Path) -> None:
    for task in ("a", "b"):
        watched.begin(workdir, task)
    watched.end(workdir, "a")
    watched.begin_capture(workdir)
    (workdir / "src/a.c").read_text()
    (workdir / "sysroot/usr/include/a.h").read_text()
    watched.end_capture(workdir)
    os.listdir(workdir / "src")
    assert uses(watched.end(workdir, "b")) == {"sysroot/usr/include/a.h": "o", "src": "d"}


def test_uses_before_sysroots_are_installed_are_forgotten(
    watched: WatchedWorkdirs, workdir: Path
) -> None:
    watched.begin(workdir, "a")
    (workdir / "src/a.c").read_text()
    (workdir / "sysroot/usr/include/a.h").read_text()
    (workdir / "sysroot/usr/lib").mkdir()
    (workdir / "sysroot/usr/lib/a.so").write_text("")
    watched.installed(workdir, "a")
    (workdir / "sysroot/usr/lib/a.so").read_text()
    opens = watched.end(workdir, "a")
    assert uses(opens) == {"src/a.c": "o", "sysroot/usr/lib/a.so": "o"}
    assert completeness(opens) == COMPLETE


def test_folders_that_appear_in_a_sysroot_may_be_watched_too_late(
    watched: WatchedWorkdirs, workdir: Path
) -> None:
    for task in ("a", "b"):
        watched.begin(workdir, task)
    (workdir / "sysroot/usr/lib").mkdir()
    watched.installed(workdir, "b")
    assert completeness(watched.end(workdir, "a")) == f"incomplete: {workdirs.GREW}"
    assert completeness(watched.end(workdir, "b")) == f"{BESIDE}a"


def test_a_task_whose_begin_is_unknown(watched: WatchedWorkdirs, workdir: Path) -> None:
    watched.installed(workdir, "a")
    watched.begin_capture(workdir)
    watched.end_capture(workdir)
    assert watched.end(workdir, "a") is None


def test_watches_of_idle_workdirs_are_removed(
    watched: WatchedWorkdirs, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workdirs, "MOST_IDLE", 3)
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    for path, number in ((workdir, 8), (other, 2)):
        watched.begin(path, "a")
        watched.end(path, "a")
        assert len(watched) == number
    watched.begin(workdir, "b")
    assert len(watched) == 10
    watched.begin(other, "a")
    os.listdir(other / "deep")
    assert uses(watched.end(other, "a")) == {"deep": "d"}


def test_prov_s_own_listings_and_sources_outside() -> None:
    opens = TaskOpens(b"/work", frozenset((b"sysroot",)))
    opens.add(b"", b"src", IN_OPEN | IN_ISDIR, is_shared=False)
    opens.add(b"src", b"a.c", IN_OPEN, is_shared=False)
    opens.add(b"src", b"x", APPEARED, is_shared=False)
    reads = opens.reads(is_listed_by_prov=True, outside=True)
    assert uses_in(reads, "/work") == {"src": "*d", "src/a.c": "o"}
    assert reads.opens == (
        "incomplete outside the sysroots: sources outside WORKDIR are not watched"
    )


LIMITED = """
import re, sys
from pathlib import Path
from prov.reads.workdirs import WatchedWorkdirs
watched, small, large = WatchedWorkdirs((), re.compile(b"-")), Path(sys.argv[1]), Path(sys.argv[2])
for workdir in (small, large, small, large, small):
    watched.begin(workdir, "a")
    (workdir / "file").read_text()
    print(watched.end(workdir, "a").reads().opens)
"""


@NEEDS_UNSHARE
@pytest.mark.process
@pytest.mark.parametrize(("limit", "number"), [("watches", 5), ("instances", 0)])
def test_limits_of_the_kernel(tmp_path: Path, limit: str, number: int) -> None:
    """A WORKDIR with too many folders does not prevent others from being watched."""
    small, large = tmp_path / "small", tmp_path / "large"
    for path, count in ((small, 2), (large, 8)):
        for folder in range(count):
            (path / f"folder{folder}").mkdir(parents=True)
        (path / "file").write_text("")
    script = f'echo {number} > /proc/sys/user/max_inotify_{limit} && exec "$@"'
    wrapper = ["unshare", "-Ur", "sh", "-c", script, "sh"]
    command = [*wrapper, sys.executable, "-c", LIMITED, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    problem = f"incomplete: more {'folders' if number else 'inotify instances'} than"
    problem += f" fs.inotify.max_user_{limit} allows"
    fits = COMPLETE if number else problem
    assert done.stdout.splitlines() == [fits, problem, fits, problem, fits]
