"""Checks of the machine: programs, kernel limits, file systems, clock and locale.

Each check is a function that returns findings and changes nothing but a temporary file.
"""

from __future__ import annotations

import fcntl
import locale
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from prov.errors import ProvError
from prov.store.git import git_version
from prov.tasks.sandbox import usable_bubblewrap
from prov.text import size_text
from prov.worktree.pool import FICLONE

LEAST_SPACE = 2 << 30
"""Bytes. A build with less free space probably fails."""
LEAST_INODES = 100_000
LEAST_WATCHES = 65_536
"""Directories that one user watches: a sysroot of a large recipe has 10,000."""
CLOCK_SKEW = 2.0
"""Seconds between the clocks of this machine and of a file server that change no result."""
_SYSCTL = Path("/proc/sys")


class State(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """prov works, but more slowly or with less protection."""
    ERROR = "error"
    """Builds or transfers fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check."""

    subject: str
    """git, sandbox, disk, …"""
    state: State
    text: str
    advice: str = ""
    """What to do; empty if the state is ok."""


def check_git() -> Finding:
    """Check git's version."""
    try:
        version = git_version()
    except ProvError as error:
        return Finding("git", State.ERROR, str(error), error.hint)
    return Finding("git", State.OK, version)


def check_sandbox() -> Finding:
    """Check whether bubblewrap can create a sandbox."""
    program, problem = usable_bubblewrap()
    if program is not None:
        return Finding("sandbox", State.OK, f"{program} works")
    if shutil.which("bwrap") is None:
        advice = "install bubblewrap; without it, tasks can read the whole file system"
    elif _sysctl("kernel/apparmor_restrict_unprivileged_userns") == 1:
        advice = "run `sysctl kernel.apparmor_restrict_unprivileged_userns=0` as root"
    elif _sysctl("kernel/unprivileged_userns_clone") == 0:
        advice = "run `sysctl kernel.unprivileged_userns_clone=1` as root"
    else:
        advice = "allow user namespaces (docker run --security-opt seccomp=unconfined)"
    return Finding("sandbox", State.WARNING, problem, advice)


def check_inotify() -> Finding:
    """Check the kernel's limit of watched directories."""
    watches = _sysctl("fs/inotify/max_user_watches")
    if watches is None:
        advice = "use a kernel with inotify (CONFIG_INOTIFY_USER)"
        return Finding("inotify", State.WARNING, "not available", advice)
    text = f"{watches:,} watches for each user"
    if watches >= LEAST_WATCHES:
        return Finding("inotify", State.OK, text)
    advice = f"run `sysctl fs.inotify.max_user_watches={LEAST_WATCHES}` as root"
    return Finding("inotify", State.WARNING, text, advice)


def _sysctl(name: str) -> int | None:
    """Return a kernel setting; None if this kernel has none of that name."""
    try:
        return int((_SYSCTL / name).read_text())
    except (OSError, ValueError):
        return None


def check_file_system(folder: Path, title: str) -> Iterator[Finding]:
    """Check links, clones, free space and the clock of the file system that holds a folder."""
    try:
        with tempfile.TemporaryDirectory(prefix=".prov-doctor-", dir=folder) as scratch:
            file = Path(scratch, "file")
            file.write_bytes(b"x" * 4096)
            yield _check_links(file, title)
            yield _check_clones(file, title)
            yield _check_clock(file, title)
    except OSError as error:
        advice = "make the folder writable, or use `--store` to name another store"
        yield Finding(title, State.ERROR, f"{folder}: {error.strerror}", advice)
        return
    yield from _check_space(folder, title)


def _check_links(file: Path, title: str) -> Finding:
    try:
        os.link(file, file.with_name("link"))
    except OSError as error:
        advice = (
            "move the store and the build directory to a file system with hardlinks (ext4, xfs)"
        )
        return Finding(title, State.ERROR, f"no hardlinks: {error.strerror}", advice)
    return Finding(title, State.OK, "has hardlinks")


def _check_clones(file: Path, title: str) -> Finding:
    with file.open("rb") as source, file.with_name("clone").open("wb") as target:
        try:
            fcntl.ioctl(target, FICLONE, source.fileno())
        except OSError:
            return Finding(title, State.OK, "has no reflinks, so prov copies files")
    return Finding(title, State.OK, "has reflinks")


def _check_clock(file: Path, title: str) -> Finding:
    skew = abs(file.stat().st_mtime - time.time())
    if skew <= CLOCK_SKEW:
        return Finding(title, State.OK, "has this machine's time")
    advice = "synchronize the clocks of this machine and the file server, for example with chrony"
    return Finding(title, State.WARNING, f"the clock differs by {skew:.0f} s", advice)


def _check_space(folder: Path, title: str) -> Iterator[Finding]:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    state, advice = State.OK, ""
    if free < LEAST_SPACE:
        state, advice = State.WARNING, "run `prov gc`, or free space on the disk"
    yield Finding(title, state, f"{size_text(free)} free", advice)
    if status.f_files and status.f_favail < LEAST_INODES:
        text = f"{status.f_favail:,} inodes free"
        advice = "delete files, or use a file system with more inodes"
        yield Finding(title, State.WARNING, text, advice)


def check_devices(store: Path, builds: Path) -> Finding:
    """Check that hardlinks are possible between the store and the build directory."""
    existing = builds
    while not existing.exists():
        existing = existing.parent
    if store.stat().st_dev == existing.stat().st_dev:
        return Finding("disk", State.OK, "the store and the build directory share a file system")
    return Finding(
        "disk",
        State.WARNING,
        f"{store} and {builds} are on different file systems, so prov copies files",
        "set `builddir` in prov.toml to a folder on the store's file system",
    )


def check_time(last_build: float, now: float) -> Finding:
    """Check that the clock is not behind the last build; both in seconds since the epoch."""
    behind = last_build - now
    if behind <= CLOCK_SKEW:
        return Finding("clock", State.OK, "not behind the last build")
    advice = "set the clock, for example with `timedatectl set-ntp true`"
    return Finding("clock", State.WARNING, f"{behind:.0f} s behind the last build", advice)


def check_locale(environment: Mapping[str, str]) -> Finding:
    """Check that the locale exists and is in UTF-8."""
    names = (environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    name = next(filter(None, names), "C")
    previous = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
        encoding = locale.nl_langinfo(locale.CODESET)
    except locale.Error:
        advice = "set LANG to a locale that `locale -a` lists, such as C.UTF-8"
        return Finding("locale", State.WARNING, f"{name} does not exist", advice)
    finally:
        locale.setlocale(locale.LC_CTYPE, previous)
    if encoding.upper().replace("-", "") == "UTF8":
        return Finding("locale", State.OK, name)
    advice = "set LANG=C.UTF-8 to see names with other characters"
    return Finding("locale", State.WARNING, f"{name}: encoding {encoding}", advice)
