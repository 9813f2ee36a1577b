"""Compose sysroots of Debian development packages with prov, ostree and cp.

Each compose runs in a new fork that opens the store again, so it has only the caches on disk. The
pool is warm, as are ostree's repository and cp's source.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from prov.files import remove_tree
from prov.store.repository import Store
from prov.sysroot.compose import Sysroots
from prov.tasks.relocate import Tokeniser
from prov.worktree.merge import Owned
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.pool import Pool
from prov.worktree.snapshot import capture
from tests.bench.measure import in_child, row, timed

ROUNDS = 5
DEV_PACKAGES = Path(tempfile.gettempdir()) / "prov-dev-packages"
FIXMES = 1000
SMALL = 200
"""The maximum number of files of the replaced package."""


class Times(NamedTuple):
    """The seconds of one compose, and of making its objects durable."""

    compose: float
    finish: float


def settle() -> None:
    """Wait until all earlier writes are on disk."""
    os.sync()
    time.sleep(0.2)


def composed(
    path: Path, directory: Path, packages: Sequence[Owned], places: TokenPaths | None = None
) -> Times:
    """Compose a sysroot in a fresh process."""

    def work() -> Times:
        store = Store.open(path)
        begun = time.perf_counter()
        with store.objects.writer() as writer:
            sysroots = Sysroots(Pool(store.cache / "pool", store.objects), store.cache / "sysroots")
            sysroots.compose(writer, directory, packages, places=places)
            ready = time.perf_counter()
            writer.finish()
            return Times(ready - begun, time.perf_counter() - ready)

    settle()
    return in_child(work)


def captured(path: Path, folders: Sequence[Path]) -> list[Owned]:
    """Record folders as outputs."""

    def work() -> list[Owned]:
        store, packages = Store.create(path), []
        for folder in folders:
            with store.objects.writer() as writer:
                pair = capture(store, folder, writer).output(b"", writer)
            assert pair is not None
            packages.append(Owned(folder.name, pair))
        store.objects.consolidate()  # as every build does
        return packages

    return in_child(work)


def files_in(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*") if path.is_file() and not path.is_symlink())


def rebuild(package: Path, target: Path, number: int) -> Path:
    """Write a new version of a package: change a third of its files, delete and add a few."""
    shutil.copytree(package, target, symlinks=True)
    for place, path in enumerate(files_in(target)):
        if place % 3 == 0:
            path.write_bytes(path.read_bytes() + b"\n// %d\n" % number)
        elif place % 40 == 1:
            path.rename(path.with_name(f"{path.name}.{number}"))
        elif place % 40 == 2:
            path.unlink()
    return target


class Ostree:
    """The packages as commits of an ostree repository, from which checkouts hardlink."""

    def __init__(self, folder: Path, packages: Sequence[Path]) -> None:
        self.repository = f"--repo={folder / 'ostree'}"
        self.list = folder / "ostree.list"
        timed("ostree", self.repository, "init", "--mode=bare-user-only")
        branches = [
            f"package/{number}" for number in range(len(packages))
        ]  # a package name can contain a +, a branch cannot
        for branch, package in zip(branches, packages, strict=True):
            options = [
                "--no-xattrs",
                "--canonical-permissions",
                f"--branch={branch}",
                f"--tree=dir={package}",
            ]
            timed("ostree", self.repository, "commit", *options)
        self.list.write_text("".join(f"{branch}\0/\0" for branch in branches))

    def checkout(self, directory: Path) -> float:
        options = ["-H", "--union", f"--from-file={self.list}"]
        return timed("ostree", self.repository, "checkout", *options, str(directory))


def link_packages(packages: Path, directory: Path) -> float:
    directory.mkdir()
    return timed(shell=f"for package in {packages}/*; do cp -al $package/. {directory}/; done")


def find_packages(given: Path | None, scratch: Path) -> Path:
    folder = (given or DEV_PACKAGES).resolve()
    if given is None:
        subprocess.run([Path(__file__).with_name("get-dev-packages"), folder], check=True)
    if not folder.is_dir() or folder.stat().st_dev != scratch.stat().st_dev:
        sys.exit(
            f"{folder} is not there, or not on {scratch}'s file system; get-dev-packages makes it,"
            " TMPDIR moves"
        )
    return folder


def places_of(top: Path) -> TokenPaths:
    """Return the paths of a task below a folder."""
    names = {
        b"W": top,
        b"S": top / "recipe-sysroot",
        b"N": top / "recipe-sysroot-native",
        b"H": top / "tools",
    }
    return TokenPaths({letter: os.fsencode(path) for letter, path in names.items()})


def write_texts(folder: Path, places: TokenPaths) -> None:
    """Write the pkg-config and libtool files of many libraries, each with a few paths."""
    folder.mkdir()
    sysroot = os.fsdecode(places.paths[b"S"])
    for number in range(FIXMES):
        lines = [
            f"libdir='{sysroot}/usr/lib{number}'",
            f"dependency_libs=' -L{sysroot}/usr/lib -lz'",
        ]
        filling = [f"# {line} of {number}: nothing that names a place" for line in range(30)]
        (folder / f"lib{number}.la").write_text(
            "\n".join([*lines, *filling, f"prefix={sysroot}/usr", ""])
        )


def bench_fixmes(scratch: Path) -> None:
    """Relocate texts into a sysroot, and copy the same files."""
    store, source, sysroot = scratch / "store", scratch / "texts", scratch / "place/recipe-sysroot"
    made, here = places_of(scratch / "made"), places_of(scratch / "place")
    write_texts(source, made)
    [plain] = captured(store, [source])

    def tokenised() -> Owned:
        with Store.open(store).objects.writer() as writer:
            return Owned("texts", Tokeniser(writer, made).output(source, plain.pair))

    package = in_child(tokenised)
    times: dict[str, list[float]] = {"relocated": [], "copied": []}
    for _ in range(ROUNDS):
        for folder in (sysroot, scratch / "copy"):
            if folder.exists():
                remove_tree(folder)
        os.sync()
        times["copied"].append(timed("cp", "-r", str(source), str(scratch / "copy")))
        times["relocated"].append(composed(store, sysroot, [package], here).compose)
    wanted = (source / "lib7.la").read_text().replace(str(scratch / "made"), str(scratch / "place"))
    assert (sysroot / "lib7.la").read_text() == wanted
    middle = {name: statistics.median(values) for name, values in times.items()}
    row(f"{FIXMES} texts relocated / cp -r of them", middle["relocated"], middle["copied"], 1.5)


def bench_sysroot(given: Path | None, scratch: Path) -> None:
    if shutil.which("ostree") is None:
        sys.exit("ostree is missing; apt-get install ostree")
    bench_fixmes(scratch)
    source = find_packages(given, scratch)
    folders = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    counts = {folder: len(files_in(folder)) for folder in folders}
    small = sorted(
        (folder for folder in folders if counts[folder] <= SMALL),
        key=lambda folder: -counts[folder],
    )
    store = scratch / "store"
    packages = captured(store, folders)
    versions = [
        rebuild(small[0], scratch / "rebuilt" / str(number), number) for number in range(ROUNDS)
    ]
    rebuilt = captured(store, versions)
    ostree = Ostree(scratch, folders)
    sysroot, fresh = scratch / "sysroot", scratch / "fresh"
    first = composed(store, sysroot, packages)
    entries = sum(len(names) + len(files) for _, names, files in os.walk(sysroot))
    print(
        f"{len(packages)} packages, {entries} entries; {small[0].name} with {counts[small[0]]}"
        " files is replaced"
    )

    times: dict[str, list[Times]] = {}
    whole: dict[str, list[float]] = {"prov": [], "ostree": [], "cp": []}

    def measure(name: str, wanted: Sequence[Owned]) -> None:
        times.setdefault(name, []).append(composed(store, sysroot, wanted))

    def second(work: Callable[[], float]) -> float:
        """Return the seconds of a second run, since the first one reads inodes into the cache."""
        for _ in range(2):
            if fresh.exists():
                remove_tree(fresh)
            settle()
            seconds = work()
        return seconds

    def without(folder: Path) -> list[Owned]:
        return [package for package in packages if package.owner != folder.name]

    for number in range(ROUNDS):
        whole["prov"].append(second(lambda: composed(store, fresh, packages).compose))
        whole["ostree"].append(second(lambda: ostree.checkout(fresh)))
        whole["cp"].append(second(lambda: link_packages(source, fresh)))
        measure("replace", [*without(small[0]), rebuilt[number]])
        measure("back", packages)
        measure("remove", without(small[number]))
        measure("add", packages)
        measure("nothing", packages)

    middle = {
        name: statistics.median(each.compose for each in values) for name, values in times.items()
    }
    finish = {
        name: statistics.median(each.finish for each in values) for name, values in times.items()
    }
    full, checkout, links = (statistics.median(values) for values in whole.values())
    row("sysroot from nothing / ostree checkout -H --union", full, checkout, 0.8)
    row("sysroot from nothing / cp -al, package by package", full, links, 0.6)
    row("one package replaced / sysroot from nothing", middle["replace"], full, 0.1)

    def line(name: str, key: str, wanted: str = "") -> None:
        print(f"{name:52} {middle[key] * 1000:8.1f} ms, finish {finish[key] * 1000:.1f} ms{wanted}")

    line("one package replaced by a rebuilt one", "replace", "  (wanted: under 30)")
    line("  the one before again, its files being pooled", "back")
    line("  one package removed", "remove")
    line("  and added again", "add")
    line("the same packages again", "nothing", "  (wanted: under 10)")
    print(
        f"{'  the very first sysroot, which fills the pool':52} {first.compose:8.3f} s, finish"
        f" {first.finish:.3f} s"
    )
