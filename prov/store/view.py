"""Show git a repository: of one that is not the user's alone, its objects and refs only.

A repository's configuration, attributes and hooks name programs, and git runs them: a store that
came in an archive, or that another user can write to, could run programs with your rights. For such
a repository git is given a directory of prov's own, with a configuration of prov's own and links to
the repository's objects and refs. A repository that belongs to the user, that no other user can
write to, and whose configuration holds only what prov writes, is used as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pygit2

from prov.errors import StoreError
from prov.files import write_scratch

_LENT = ("objects", "refs", "packed-refs", "shallow")
_CONFIGURATION = """\
[core]
	repositoryformatversion = 0
	bare = true
	fsync = all
	logallrefupdates = false
[gc]
	auto = 0
[maintenance]
	auto = false
"""
_SECTION = re.compile(rb'\[(core|extensions|gc|maintenance|prov|prov-remote) ?(?:"[^"\\]*")?\]')
_SETTING = re.compile(rb"\t([A-Za-z]+) = [^\\]*")
_WRITTEN = {
    b"core": (b"repositoryformatversion", b"bare", b"filemode", b"fsync", b"logallrefupdates"),
    b"extensions": (b"preciousobjects",),
    b"gc": (b"auto",),
    b"maintenance": (b"auto",),
}
"""What prov writes, by section; in its own sections any name, since git knows none of them."""
_OWN_SECTIONS = (b"prov", b"prov-remote")
_INCLUDE = re.compile(rb"\[\s*include", re.IGNORECASE)
_PERMISSIONS = re.compile(r"\w+", re.ASCII)
"""A value of core.sharedRepository: `group`, `0660`, …"""
_LARGEST = 1 << 20
"""Bytes of a configuration."""
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@contextlib.contextmanager
def git_view(git_dir: Path) -> Iterator[Path]:
    """Yield the directory that git is to work in for a repository: its own, or one that stands for
    it.

    Raises StoreError for a configuration that is not a file of a plausible size.
    """
    data = b""
    with contextlib.suppress(OSError):
        data = read_configuration(git_dir)
    if _is_private(git_dir) and _is_harmless(data):
        yield git_dir
        return
    with tempfile.TemporaryDirectory(prefix="prov-git-") as folder:
        view = Path(folder)
        write_scratch(view / "config", _CONFIGURATION + _permissions(git_dir))
        write_scratch(view / "HEAD", "ref: refs/heads/none\n")
        for name in _LENT:
            (view / name).symlink_to((git_dir / name).absolute())
        yield view


def read_configuration(git_dir: Path) -> bytes:
    """Return a repository's configuration. Raises OSError where there is none.

    Raises StoreError for one that is no file of a plausible size, or that leads to further files.
    """
    path = git_dir / "config"
    # not to wait for a writer where a pipe lies in its place
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as stream:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_size > _LARGEST:
            raise StoreError(f"{path} is not a configuration file of git", hint="is this a store?")
        data = stream.read(_LARGEST)
    if _INCLUDE.search(data):
        raise StoreError(
            f"{path} includes other files, which prov does not read",
            hint="remove its [include] section",
        )
    return data


def read_setting(git_dir: Path, name: str) -> str | None:
    """Return a setting of a repository's configuration (`core.bare`); None without a valid one.

    Raises OSError where there is no configuration, StoreError as `read_configuration` does.
    """
    read_configuration(git_dir)  # libgit2 would wait at a pipe, and follow includes
    try:
        return pygit2.Config(str(git_dir / "config"))[name]
    except (KeyError, ValueError, pygit2.GitError):
        return None


def _permissions(git_dir: Path) -> str:
    """Return the lines of a configuration for the permissions that a repository gives its files."""
    setting = None
    with contextlib.suppress(OSError, StoreError):
        setting = read_setting(git_dir, "core.sharedRepository")
    if setting is None or not _PERMISSIONS.fullmatch(setting):
        return ""
    return f"[core]\n\tsharedRepository = {setting}\n"


def _is_private(git_dir: Path) -> bool:
    """Return whether a repository belongs to this user, or to root, and no other user can change
    its configuration.
    """
    with contextlib.suppress(OSError):
        states = [os.stat(path) for path in (git_dir, git_dir / "config")]
        return all(
            state.st_uid in (os.geteuid(), 0) and not state.st_mode & _BY_OTHERS for state in states
        )
    return False


def _is_harmless(configuration: bytes) -> bool:
    """Return whether a configuration has only lines as prov writes them.

    Values have no backslash, so that none goes on in the next line.
    """
    section = b""
    for line in configuration.split(b"\n"):
        header, setting = _SECTION.fullmatch(line), _SETTING.fullmatch(line)
        if header:
            section = header[1]
        elif setting:
            if section not in _OWN_SECTIONS and setting[1].lower() not in _WRITTEN.get(section, ()):
                return False
        elif line:
            return False
    return True
