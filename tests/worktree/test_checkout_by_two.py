"""Checkouts shared by two processes, and their order."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.files import remove_tree
from prov.store.repository import Store
from prov.worktree import checkout as checkouts
from prov.worktree.attributes import EMPTY
from prov.worktree.checkout import checkout
from prov.worktree.placer import PrivatePlacer
from prov.worktree.pool import Pool
from tests.trees import AS_ROOT, Step, carry_out, describe, everything, steps
from tests.worktree.conftest import Work
from tests.worktree.sharing import Noting, OnlyThere, Sharing, lines, only_there, sharing
from tests.worktree.test_checkout import as_nobody, open_folder, scratch
from tests.worktree.test_merge import Spec, build
from tests.worktree.test_pool import inode

pytestmark = pytest.mark.process

__all__ = ["only_there", "open_folder", "sharing"]  # fixtures


def below(top: Path) -> Callable[[bytes], bytes]:
    return lambda path: path.removeprefix(os.fsencode(top) + b"/")


# two processes have the same result as one


def everything_at_once(top: Path, count: int) -> None:
    """Create many folders with all kinds of entries, hardlinked across folders."""
    for number in range(count):
        folder = top / f"d{number}"
        for name in ("e/deep", "bin/more", "usr/libexec", "empty"):
            (folder / name).mkdir(parents=True)
        (folder / "bin" / "tool").write_text("#!")
        (folder / "bin" / "tool").chmod(0o4755)
        (folder / "usr" / "libexec" / "helper").write_text(str(number))
        (folder / "e" / "deep" / "f").write_text(f"{number}\n" * number)
        (folder / "e" / "link").symlink_to("deep/f")
        os.mkfifo(folder / "fifo")
        os.link(folder / "bin" / "tool", folder / "e" / "same")
        if number:
            os.link(top / f"d{number - 1}" / "e" / "deep" / "f", folder / "bin" / "more" / "other")
        os.utime(folder / "e", ns=(number, number))
    for number in range(0, count, 3):
        for name in ("e/deep", "bin/more", "bin", "e"):
            (top / f"d{number}" / name).chmod(0o500 if number % 2 else 0o2555)


@pytest.mark.parametrize(
    ("since", "count"), [(2, 7), (checkouts.SHARE_FROM, 150)], ids=["a few", "for real"]
)
def test_two_processes_place_the_same_as_one(
    work: Work, tmp_path: Path, sharing: Sharing, since: int, count: int, nothing_is_left: None
) -> None:
    everything_at_once(tmp_path / "a", count)
    before = work.capture(tmp_path / "a").pair
    for number in range(count):
        (tmp_path / "a" / f"d{number}" / "bin").chmod(0o755)
        (tmp_path / "a" / f"d{number}" / "bin" / "new").mkdir()
        (tmp_path / "a" / f"d{number}" / "bin" / "new" / "f").write_text("new")
        remove_tree(tmp_path / "a" / f"d{number}" / "empty")
    after = work.capture(tmp_path / "a").pair
    sharing.since(1 << 30)
    counts = [work.checkout(tmp_path / "one", before)]
    first = describe(tmp_path / "one")
    counts.append(work.checkout(tmp_path / "one", after, now=before))
    assert sharing.shared == []
    sharing.since(since)
    assert work.checkout(tmp_path / "two", before) == counts[0]
    assert describe(tmp_path / "two") == first
    assert len(sharing.shared) == 2  # folders, then programs
    assert work.checkout(tmp_path / "two", after, now=before) == counts[1]
    assert describe(tmp_path / "two") == describe(tmp_path / "one") == describe(tmp_path / "a")
    assert work.capture(tmp_path / "two").pair == after


def test_both_processes_place(
    work: Work, tmp_path: Path, sharing: Sharing, only_there: OnlyThere
) -> None:
    sharing.since(2)
    everything_at_once(tmp_path / "a", 40)
    placer = Noting(
        PrivatePlacer(work.store.objects, shares=True), tmp_path / "notes", only_there(lambda: None)
    )
    checkout(work.store.objects, tmp_path / "b", work.output(tmp_path / "a"), placer=placer)
    assert len(placer.processes()) > 1
    assert len(set(placer.placed())) == len(placer.placed()) == 40 * 5 - 1


def test_both_processes_place_links(work: Work, tmp_path: Path, sharing: Sharing) -> None:
    everything_at_once(tmp_path / "a", 20)
    pair, pool = work.output(tmp_path / "a"), Pool(work.store.cache / "pool", work.store.objects)
    for name, since in (("one", 1 << 30), ("two", 2)):
        sharing.since(since)
        checkout(work.store.objects, tmp_path / name, pair, placer=pool)
    assert sharing.shared == [20, 40]
    assert describe(tmp_path / "one") == describe(tmp_path / "two")
    assert (
        len(
            {
                inode(tmp_path / name / f"d{number}/bin/tool")
                for name in ("one", "two")
                for number in range(20)
            }
        )
        == 1
    )
    assert pool.notes == []


def test_a_repair_by_the_second_process_is_reported_once(
    work: Work, tmp_path: Path, sharing: Sharing
) -> None:
    for number in range(20):
        (tmp_path / "a" / str(number)).mkdir(parents=True)
        (tmp_path / "a" / str(number) / "f").write_text(f"{number}")
    pair, pool = work.output(tmp_path / "a"), Pool(work.store.cache / "pool", work.store.objects)
    checkout(work.store.objects, tmp_path / "before", pair, placer=pool)
    known = (b"somewhere", "was known before")
    pool.notes.append(known)
    for number in range(20):
        (tmp_path / "before" / str(number) / "f").write_text("tampered with")
    sharing.since(2)
    checkout(work.store.objects, tmp_path / "after", pair, placer=pool)
    assert sharing.shared == [20]
    assert sorted(path for path, _ in pool.notes) == sorted(
        [b"somewhere", *(b"%d/f" % n for n in range(20))]
    )
    assert pool.notes[0] == known
    assert pool.generation() == 20
    assert (tmp_path / "after" / "7" / "f").read_text() == "7"


@settings(max_examples=60)
@given(
    made=steps(changes=False),
    changed=steps(changes=True),
    crowd=st.sampled_from([1, 2, checkouts.CROWD]),
)
def test_a_difference_applied_by_two_equals_a_fresh_checkout_by_one(
    work: Work, tmp_path: Path, sharing: Sharing, made: list[Step], changed: list[Step], crowd: int
) -> None:
    names = [b"bin", b"libexec", b"a", b"b", b"c"]
    made, changed = (
        [
            step._replace(name=names[step.where % 5]) if step.what == "directory" else step
            for step in sequence
        ]
        for sequence in (made, changed)
    )
    with scratch(tmp_path) as here:
        carry_out(here / "a", made)
        before = work.capture(here / "a").pair
        carry_out(here / "a", changed)
        after = work.capture(here / "a").pair
        for start, end in ((before, after), (after, before)):
            sharing.since(2, crowd=crowd)
            folders: set[bytes] = set()
            for now, wanted in ((EMPTY, start), (start, end)):
                checkout(work.store.objects, here / "delta", wanted, now=now, folders=folders)
                assert folders == set(
                    map(below(here / "delta"), everything(os.fsencode(here / "delta"))[0][1:])
                )
            sharing.since(1 << 30)
            work.checkout(here / "fresh", end)
            assert describe(here / "delta") == describe(here / "fresh")
            assert work.capture(here / "delta").pair == end
            shutil.rmtree(here / "delta")
            shutil.rmtree(here / "fresh")


def test_folders_created_and_removed_by_two_processes_are_returned(
    work: Work, tmp_path: Path, sharing: Sharing
) -> None:
    sharing.since(2)
    with work.store.objects.writer() as writer:
        old = build(writer, {f"{n}": {"bin": {"old": {"deep": {}}, "same": {}}} for n in range(9)})
        new = build(
            writer,
            {f"{n}": {"bin": {"new": {"deep": {}}, "same": {}, "old more": {}}} for n in range(9)},
        )
    folders: set[bytes] = set()
    for now, wanted, names in (
        (EMPTY, old, ["old", "old/deep"]),
        (old, new, ["new", "new/deep", "old more"]),
    ):
        checkout(work.store.objects, tmp_path / "b", wanted, now=now, folders=folders)
        inside = ["", "/bin", "/bin/same", *(f"/bin/{name}" for name in names)]
        assert folders == {f"{n}{path}".encode() for n in range(9) for path in inside}


# crowded folders


def crowds(version: str, count: int) -> Spec:
    files: Spec = {f"f{number}": f"{version} {number % 5}" for number in range(count)}
    return {
        **files,
        "closed": {".": 0o500, **files},
        "usr": {"bin": files, "lib": {**files, "libexec": {"lib": files}}},
    }


@pytest.mark.parametrize(
    ("crowd", "count"), [(2, 9), (checkouts.CROWD, 600)], ids=["a few", "for real"]
)
def test_files_of_a_crowded_folder_are_shared(
    work: Work, tmp_path: Path, sharing: Sharing, nothing_is_left: None, crowd: int, count: int
) -> None:
    with work.store.objects.writer() as writer:
        old, new = build(writer, crowds("1", count)), build(writer, crowds("2", count + 1))
    sharing.since(1 << 30, crowd=1 << 30)
    work.checkout(tmp_path / "one", old)
    first = describe(tmp_path / "one")
    assert work.checkout(tmp_path / "one", new, now=old) == 5 * (count + 1)
    assert sharing.shared == []
    sharing.since(1 << 30, crowd=crowd)
    placer = Noting(PrivatePlacer(work.store.objects), tmp_path / "notes")
    assert checkout(work.store.objects, tmp_path / "two", old, placer=placer) == 5 * count
    assert describe(tmp_path / "two") == first
    order = lines(placer.placed())
    assert (order.count(False), order.count(True)) == (3 * count, 2 * count)
    assert order == sorted(order)
    assert work.checkout(tmp_path / "two", new, now=old) == 5 * (count + 1)
    assert describe(tmp_path / "two") == describe(tmp_path / "one")
    assert len(sharing.shared) == 4


def test_a_crowd_on_one_processor_is_placed_by_one(
    work: Work, tmp_path: Path, sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing.since(2, crowd=2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with work.store.objects.writer() as writer:
        pair = build(writer, crowds("1", 9))
    assert work.checkout(tmp_path / "b", pair) == 5 * 9
    assert sharing.shared == []
    assert len([path for path in (tmp_path / "b").rglob("*") if path.is_file()]) == 5 * 9


# closed folders


@pytest.mark.parametrize("mode", [0o500, 0o555, 0o000, 0o3777, 0o700])
def test_folders_of_any_mode_are_shared(
    work: Work, tmp_path: Path, sharing: Sharing, mode: int
) -> None:
    if not AS_ROOT and not mode & stat.S_IRUSR:
        pytest.skip("only root can read a folder without owner permissions")
    inner: Spec = {".": mode, "f": "x", "bin": {".": mode, "g": "y", "lib": {".": mode, "h": "z"}}}
    spec = {f"d{number}": {".": mode, "e": inner, "libexec": inner} for number in range(9)}
    with work.store.objects.writer() as writer:
        pair = build(writer, spec)
        fuller = build(writer, {name: {**folder, "new": inner} for name, folder in spec.items()})
    for wanted, name in ((pair, "small"), (fuller, "full")):
        sharing.since(1 << 30)
        work.checkout(tmp_path / name, wanted)
        sharing.since(2)
        work.checkout(tmp_path / f"{name} shared", wanted)
        assert describe(tmp_path / f"{name} shared") == describe(tmp_path / name)
        assert stat.S_IMODE((tmp_path / name / "d3" / "e" / "bin").stat().st_mode) == mode
    work.checkout(tmp_path / "small", fuller, now=pair)
    assert describe(tmp_path / "small") == describe(tmp_path / "full")


def test_closed_folders_are_shared_without_root(open_folder: Path, sharing: Sharing) -> None:
    def go() -> None:
        sharing.since(2)
        work = Work(Store.create(open_folder / "store"))
        everything_at_once(open_folder / "a", 7)
        before = work.capture(open_folder / "a").pair
        work.checkout(open_folder / "b", before)
        assert len(sharing.shared) == 2
        assert describe(open_folder / "b") == describe(open_folder / "a")

    as_nobody(go)


# programs come last


def with_programs(version: str, count: int) -> Spec:
    usr: Spec = {
        "bin": {"tool": version, "tools.d": {"plugin": version}},
        "sbin": {"daemon": version},
        "lib": {"l.so": version, "gcc": {"libexec": {"cc1": version}, "l.a": version}},
        "libexec": {"lib": {"inner.so": version}, "bin": {"inmost": version}},
        "share": {"x": version},
    }
    # sorted last, so that neither name order nor queue order is sufficient
    return {
        **{f"d{number}": usr for number in range(count)},
        "bin": {"sh": version},
        "z": {"z": {"z.so": version}},
    }


@pytest.mark.parametrize("since", [1 << 30, 2], ids=["one", "two"])
@pytest.mark.parametrize("delta", [False, True], ids=["fresh", "delta"])
def test_programs_come_after_libraries(
    work: Work, tmp_path: Path, sharing: Sharing, since: int, delta: bool
) -> None:
    sharing.since(since)
    with work.store.objects.writer() as writer:
        old, new = (
            build(writer, with_programs(version, count)) for version, count in (("1", 4), ("2", 12))
        )
    if delta:
        work.checkout(tmp_path / "b", old)
    placer = Noting(PrivatePlacer(work.store.objects), tmp_path / "notes")
    checkout(work.store.objects, tmp_path / "b", new, now=old if delta else EMPTY, placer=placer)
    order = lines(placer.placed())
    assert (order.count(False), order.count(True)) == (12 * 3 + 1, 12 * 6 + 1)
    assert order == sorted(order)
    assert bool(sharing.shared) == (since == 2)


def test_a_file_that_is_called_bin_does_not_come_last(work: Work, tmp_path: Path) -> None:
    with work.store.objects.writer() as writer:
        pair = build(writer, {"bin": "a file", "lib": {"bin": "a file too"}, "libexec": {}})
    assert work.checkout(tmp_path / "b", pair) == 2
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["bin", "lib", "libexec"]
