"""The order of a checkout, and its sharing between two processes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.errors import CheckoutError, ProvError, StoreError, SysrootError
from prov.files import remove_tree
from prov.store.repository import Store
from prov.worktree import checkout as checkouts
from prov.worktree.attributes import EMPTY, Node, Pair, write_listing
from prov.worktree.checkout import PROGRAMS, checkout
from prov.worktree.place import Placer, Private
from prov.worktree.pool import Pool
from tests.trees import AS_ROOT, Step, carry_out, describe, everything, steps
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import as_nobody, open_folder, scratch
from tests.worktree.test_merge import Spec, build
from tests.worktree.test_pool import inode

__all__ = ["open_folder"]  # a fixture
HERE = os.getpid()


@dataclass
class Sharing:
    """Sets from how many folders on a checkout is shared, and how many files are a crowd; counts how often one was."""

    monkeypatch: pytest.MonkeyPatch
    shared: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        real = checkouts.by_turns

        def counting(work: list[object], *rest: object) -> object:
            self.shared.append(len(work))
            return real(work, *rest)  # type: ignore[arg-type]

        self.monkeypatch.setattr(checkouts, "by_turns", counting)

    def since(self, count: int, *, crowd: int = checkouts.CROWD) -> None:
        self.monkeypatch.setattr(checkouts, "SHARE_FROM", count)
        self.monkeypatch.setattr(checkouts, "CROWD", crowd)


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch, two_processors: None) -> Sharing:
    return Sharing(monkeypatch)


@dataclass
class Noting:
    """A placer that notes, for both processes, what it places, and does something before."""

    inner: Placer
    log: Path
    before: Callable[[bytes], object] = lambda path: None

    @property
    def shares(self) -> bool:
        return self.inner.shares

    @property
    def notes(self) -> list[tuple[bytes, str]]:
        return self.inner.notes

    @notes.setter
    def notes(self, notes: list[tuple[bytes, str]]) -> None:
        self.inner.notes = notes

    def place(self, node: Node, path: bytes, folder: int) -> None:
        self.before(path)
        self.inner.place(node, path, folder)
        with open(self.log, "ab", buffering=0) as stream:
            stream.write(b"%d %s\n" % (os.getpid(), path))

    def placed(self) -> list[bytes]:
        return [line.split(b" ", 1)[1] for line in self.log.read_bytes().splitlines()]

    def processes(self) -> set[bytes]:
        return {line.split(b" ", 1)[0] for line in self.log.read_bytes().splitlines()}


def lines(paths: list[bytes]) -> list[bool]:
    """For each path, whether a program's folder is on it."""
    return [any(part in PROGRAMS for part in path.split(b"/")[:-1]) for path in paths]


OnlyThere = Callable[[Callable[[], object]], Callable[[bytes], None]]


@pytest.fixture
def only_there() -> Iterator[OnlyThere]:
    """Something to be done by the second process alone, for which the first one waits."""
    reader, writer = os.pipe()
    waited = False

    def make(action: Callable[[], object]) -> Callable[[bytes], None]:
        def act(path: bytes) -> None:
            nonlocal waited
            if os.getpid() != HERE:
                os.write(writer, b"x")
                action()
            elif not waited:
                os.read(reader, 1)
                waited = True

        return act

    yield make
    os.close(reader)
    os.close(writer)


def below(top: Path) -> Callable[[bytes], bytes]:
    return lambda path: path.removeprefix(os.fsencode(top) + b"/")


# two processes do what one does


def everything_at_once(top: Path, count: int) -> None:
    """Many folders with all kinds of entries, hardlinked across the folders."""
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


@pytest.mark.parametrize(("since", "count"), [(2, 7), (checkouts.SHARE_FROM, 150)], ids=["a few", "for real"])
def test_two_processes_place_what_one_does(
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


def test_both_processes_place(work: Work, tmp_path: Path, sharing: Sharing, only_there: OnlyThere) -> None:
    sharing.since(2)
    everything_at_once(tmp_path / "a", 40)
    placer = Noting(Private(work.store.objects, shares=True), tmp_path / "notes", only_there(lambda: None))
    checkout(work.store.objects, tmp_path / "b", work.output(tmp_path / "a"), placer=placer)
    assert len(placer.processes()) > 1
    assert len(set(placer.placed())) == len(placer.placed()) == 40 * 5 - 1


def test_files_of_a_sysroot_are_links_whoever_placed_them(work: Work, tmp_path: Path, sharing: Sharing) -> None:
    everything_at_once(tmp_path / "a", 20)
    pair, pool = work.output(tmp_path / "a"), Pool(work.store.cache / "pool", work.store.objects)
    for name, since in (("one", 1 << 30), ("two", 2)):
        sharing.since(since)
        checkout(work.store.objects, tmp_path / name, pair, placer=pool)
    assert sharing.shared == [20, 40]
    assert describe(tmp_path / "one") == describe(tmp_path / "two")
    assert len({inode(tmp_path / name / f"d{number}/bin/tool") for name in ("one", "two") for number in range(20)}) == 1
    assert pool.notes == []


def test_what_the_second_process_repaired_is_told_once(work: Work, tmp_path: Path, sharing: Sharing) -> None:
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
    assert sorted(path for path, _ in pool.notes) == sorted([b"somewhere", *(b"%d/f" % n for n in range(20))])
    assert pool.notes[0] == known
    assert pool.generation() == 20
    assert (tmp_path / "after" / "7" / "f").read_text() == "7"


@settings(max_examples=60)
@given(made=steps(changes=False), changed=steps(changes=True), crowd=st.sampled_from([1, 2, checkouts.CROWD]))
def test_a_difference_applied_by_two_equals_a_fresh_checkout_by_one(
    work: Work, tmp_path: Path, sharing: Sharing, made: list[Step], changed: list[Step], crowd: int
) -> None:
    names = [b"bin", b"libexec", b"a", b"b", b"c"]
    made, changed = (
        [step._replace(name=names[step.where % 5]) if step.what == "directory" else step for step in sequence]
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
                assert folders == set(map(below(here / "delta"), everything(os.fsencode(here / "delta"))[0][1:]))
            sharing.since(1 << 30)
            work.checkout(here / "fresh", end)
            assert describe(here / "delta") == describe(here / "fresh")
            assert work.capture(here / "delta").pair == end
            shutil.rmtree(here / "delta")
            shutil.rmtree(here / "fresh")


def test_folders_that_two_processes_made_and_removed_are_told(work: Work, tmp_path: Path, sharing: Sharing) -> None:
    sharing.since(2)
    with work.store.objects.writer() as writer:
        old = build(writer, {f"{n}": {"bin": {"old": {"deep": {}}, "same": {}}} for n in range(9)})
        new = build(writer, {f"{n}": {"bin": {"new": {"deep": {}}, "same": {}, "old more": {}}} for n in range(9)})
    folders: set[bytes] = set()
    for now, wanted, names in ((EMPTY, old, ["old", "old/deep"]), (old, new, ["new", "new/deep", "old more"])):
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


@pytest.mark.parametrize(("crowd", "count"), [(2, 9), (checkouts.CROWD, 600)], ids=["a few", "for real"])
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
    placer = Noting(Private(work.store.objects), tmp_path / "notes")
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
def test_folders_of_any_mode_are_shared(work: Work, tmp_path: Path, sharing: Sharing, mode: int) -> None:
    if not AS_ROOT and not mode & stat.S_IRUSR:
        pytest.skip("only root can look at a folder that is closed to its owner")
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
    # sorted last of all, so that neither the order of names nor that of a queue would do
    return {**{f"d{number}": usr for number in range(count)}, "bin": {"sh": version}, "z": {"z": {"z.so": version}}}


@pytest.mark.parametrize("since", [1 << 30, 2], ids=["one", "two"])
@pytest.mark.parametrize("delta", [False, True], ids=["fresh", "delta"])
def test_programs_come_after_libraries(work: Work, tmp_path: Path, sharing: Sharing, since: int, delta: bool) -> None:
    sharing.since(since)
    with work.store.objects.writer() as writer:
        old, new = (build(writer, with_programs(version, count)) for version, count in (("1", 4), ("2", 12)))
    if delta:
        work.checkout(tmp_path / "b", old)
    placer = Noting(Private(work.store.objects), tmp_path / "notes")
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


# errors


def many_folders(work: Work, *, name: str = "d") -> Pair:
    with work.store.objects.writer() as writer:
        return build(writer, {f"{name}{number:02}": {"f": str(number), "e": {"g": "x"}} for number in range(30)})


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


FAILURES: dict[str, tuple[Callable[[], object], type[ProvError], str]] = {
    "no room": (
        raising(OSError(errno.ENOSPC, "No space left")),
        CheckoutError,
        r"b: can't be put in place: .*No space",
    ),
    "damage": (raising(StoreError("object 1 is damaged", hint="fsck")), StoreError, "object 1 is damaged"),
    "no fit": (raising(SysrootError("bin/f: no room", hint="shorter")), SysrootError, "bin/f: no room"),
    "too deep": (raising(RecursionError("depth")), CheckoutError, "can't be put in place: depth"),
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), ProvError, "placing files was killed by SIGKILL"),
    "gone": (lambda: os._exit(5), ProvError, "placing files ended with exit status 5"),
}


@pytest.mark.parametrize("programs", [False, True], ids=["libraries", "programs"])
@pytest.mark.parametrize("failure", FAILURES)
def test_an_error_of_the_second_process_is_raised_here(
    work: Work,
    tmp_path: Path,
    sharing: Sharing,
    nothing_is_left: None,
    only_there: OnlyThere,
    failure: str,
    programs: bool,
) -> None:
    sharing.since(2)
    action, kind, said = FAILURES[failure]
    pair = many_folders(work)
    if programs:
        with work.store.objects.writer() as writer:
            pair = build(writer, {f"{number}": {"bin": {"f": str(number)}} for number in range(30)})
    placer = Noting(Private(work.store.objects), tmp_path / "notes", only_there(action))
    with pytest.raises(kind, match=said) as raised:
        checkout(work.store.objects, tmp_path / "b", pair, placer=placer)
    assert raised.value.hint


def test_after_an_error_here_the_second_process_is_gone(
    work: Work, tmp_path: Path, sharing: Sharing, nothing_is_left: None
) -> None:
    sharing.since(2)

    def fail_here(path: bytes) -> None:
        if os.getpid() == HERE:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        signal.pause()

    placer = Noting(Private(work.store.objects), tmp_path / "notes", fail_here)
    with pytest.raises(CheckoutError, match="Disk quota exceeded"):
        checkout(work.store.objects, tmp_path / "b", many_folders(work), placer=placer)


def test_what_is_in_the_way_of_the_second_process_is_named(
    work: Work,
    tmp_path: Path,
    sharing: Sharing,
    nothing_is_left: None,
    only_there: OnlyThere,
) -> None:
    sharing.since(2)
    pair = many_folders(work)

    def put_in_the_way() -> None:
        for folder in (tmp_path / "b").iterdir():
            with suppress(FileExistsError):
                (folder / "f").symlink_to("somewhere")

    placer = Noting(Private(work.store.objects), tmp_path / "notes", only_there(put_in_the_way))
    with pytest.raises(CheckoutError, match=r"File exists: b'f'"):
        checkout(work.store.objects, tmp_path / "b", pair, placer=placer)


# links on the way


FOLDERS: Spec = {
    "0": {"f": "x"},
    "1": {"f": "x"},
    "a": {"b": {"f": "x"}},
    "bin": {"f": "x"},
    "usr": {"bin": {"f": "x"}},
    "z": {"f": "x"},
}
SWAPPED = [
    # folder, what is placed when it becomes a link, by how many processes
    ("a", b"0/f", 1),
    ("a", b"0/f", 2),
    ("a", b"z/f", 1),  # what is in it is queued
    ("a/b", b"z/f", 1),
    ("bin", b"0/f", 1),
    ("bin", b"0/f", 2),
    ("usr", b"z/f", 1),
    ("usr", b"z/f", 2),
    ("usr/bin", b"z/f", 1),
]


@pytest.mark.parametrize(("folder", "when", "processes"), SWAPPED)
def test_a_link_in_the_place_of_a_queued_folder_is_not_followed(
    work: Work, tmp_path: Path, sharing: Sharing, nothing_is_left: None, folder: str, when: bytes, processes: int
) -> None:
    sharing.since(2 if processes == 2 else 1 << 30)
    outside, place = tmp_path / "outside", tmp_path / "top" / folder
    for name in ("b", "bin"):
        (outside / name).mkdir(parents=True)
    with work.store.objects.writer() as writer:
        pair = build(writer, FOLDERS)

    def before(path: bytes) -> None:
        if path == when:
            place.rename(tmp_path / "moved")
            place.symlink_to(outside)
        while path == b"1/f" and when == b"0/f" and not place.is_symlink():
            time.sleep(0.001)  # until the other process is there

    placer = Noting(Private(work.store.objects), tmp_path / "notes", before)
    with pytest.raises(CheckoutError, match=r"Not a directory: b'(a|b|bin|usr)'"):
        checkout(work.store.objects, tmp_path / "top", pair, placer=placer)
    assert bool(sharing.shared) == (processes == 2)
    assert [path for path in outside.rglob("*") if path.is_file()] == []


# depth

DEPTH = 600
"""More than a recursion in Python can do."""


def nested(work: Work, text: bytes) -> Pair:
    with work.store.objects.writer() as writer:
        pair = beside = build(writer, {"f": text.decode()})
        for _ in range(DEPTH):
            pair = write_listing(writer, {b"d": Node(0o40755, pair=pair)}, mtimes=False)
        folders = {b"d": Node(0o40755, pair=pair), b"beside": Node(0o40755, pair=beside)}
        return write_listing(writer, folders, mtimes=False)


def innermost(top: Path) -> bytes | None:
    """Return what is in the file below all folders."""
    fd = os.open(top, os.O_RDONLY)
    with suppress(FileNotFoundError):
        while True:
            fd, outer = os.open("d", os.O_RDONLY, dir_fd=fd), fd
            os.close(outer)
    try:
        with suppress(FileNotFoundError), os.fdopen(os.open("f", os.O_RDONLY, dir_fd=fd), "rb") as stream:
            return stream.read()
        return None
    finally:
        os.close(fd)


@pytest.mark.parametrize("since", [1 << 30, 2], ids=["one", "two"])
def test_what_is_nested_too_deeply_is_refused_or_put_in_place(
    work: Work, tmp_path: Path, sharing: Sharing, nothing_is_left: None, since: int
) -> None:
    sharing.since(since)
    one, two = nested(work, b"one"), nested(work, b"two")
    top = tmp_path / "b"
    try:
        for now, wanted, text in ((EMPTY, one, b"one"), (one, two, b"two")):
            try:
                work.checkout(top, wanted, now=now)
            except CheckoutError as error:
                assert error.hint
                assert innermost(top) != text
            else:
                assert innermost(top) == text
    finally:
        while (top / "d").exists():  # shutil's own recursion is no deeper
            (top / "d").rename(tmp_path / "outer")
            if (tmp_path / "outer" / "d").exists():
                (tmp_path / "outer" / "d").rename(top / "d")
            shutil.rmtree(tmp_path / "outer")
