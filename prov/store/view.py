"""Run git on a repository without trusting its configuration.

A repository's configuration, attributes and hooks can name programs, and git runs them. So a store
from an archive, or one that another user can write to, could run programs with your rights. For
such a repository prov creates a scratch directory with its own configuration and links to the
repository's objects and refs, and runs git there. Git uses a repository directly if it belongs to
the user, no other user can write to it, and its configuration contains only settings that prov
writes.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
_PLAIN_SETTING = re.compile(rb"\t([A-Za-z]+) = ([A-Za-z0-9._/-]+)")
_WRITTEN = {
    b"core": (b"repositoryformatversion", b"bare", b"filemode", b"fsync", b"logallrefupdates"),
    b"extensions": (b"preciousobjects",),
    b"gc": (b"auto",),
    b"maintenance": (b"auto",),
}
"""The settings that prov writes, by section. Its own sections, unknown to git, may have any."""
_OWN_SECTIONS = (b"prov", b"prov-remote")
_INCLUDE = re.compile(rb"\[\s*include", re.IGNORECASE)
_PERMISSIONS = re.compile(r"\w+", re.ASCII)
"""A value of core.sharedRepository: `group`, `0660`, …"""
_LARGEST = 1 << 20
"""The maximum size of a configuration in bytes."""
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@contextlib.contextmanager
def git_view(git_dir: Path) -> Iterator[Path]:
    """Yield the directory in which git works: the repository, or a scratch directory for it.

    Raises StoreError as `read_configuration` does.
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
    """Return a repository's configuration. Raises OSError if it does not exist.

    Raises StoreError if it is not a regular file, is too large, or includes other files.
    """
    path = git_dir / "config"
    data = read_regular(path)
    if _INCLUDE.search(data):
        raise StoreError(
            f"{path} includes other files, which prov does not support",
            hint="remove its [include] section",
        )
    return data


def read_regular(path: Path) -> bytes:
    """Return the content of a small file of git, such as its configuration.

    Raises OSError if it does not exist, and StoreError if it is not a regular file or is too large.
    """
    # non-blocking, in case the path is a pipe
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as stream:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_size > _LARGEST:
            raise StoreError(
                f"{path} is not a git configuration file",
                hint="check that the path names a store",
            )
        return stream.read(_LARGEST)


def read_setting(git_dir: Path, name: str) -> str | None:
    """Return a setting of a repository's configuration (`core.bare`), or None if it is not set.

    Raises OSError and StoreError as `read_configuration` does.
    """
    data = read_configuration(git_dir)  # libgit2 would block on a pipe, and follow includes
    plain = _plain_settings(data) if _is_harmless(data) else None
    if plain is not None:
        return plain.get(name.lower())
    from prov.store import libgit2  # its import takes 50 ms

    return libgit2.read_setting(git_dir / "config", name)


def _plain_settings(configuration: bytes) -> dict[str, str] | None:
    """Return the settings of a harmless configuration, without those of subsections.

    Returns None if a value needs git's rules for quotes and comments.
    """
    settings, section = {}, ""
    for line in configuration.split(b"\n"):
        header, setting = _SECTION.fullmatch(line), _PLAIN_SETTING.fullmatch(line)
        if header:
            section = "" if b'"' in line else header[1].decode()
        elif setting:
            settings[f"{section}.{setting[1].decode().lower()}"] = setting[2].decode()
        elif line and section:
            return None
    return settings


def _permissions(git_dir: Path) -> str:
    """Return the configuration lines for the repository's file permissions."""
    setting = None
    with contextlib.suppress(OSError, StoreError):
        setting = read_setting(git_dir, "core.sharedRepository")
    if setting is None or not _PERMISSIONS.fullmatch(setting):
        return ""
    return f"[core]\n\tsharedRepository = {setting}\n"


def _is_private(git_dir: Path) -> bool:
    """Return whether the user or root owns the repository and no other user can write to it."""
    with contextlib.suppress(OSError):
        states = [os.stat(path) for path in (git_dir, git_dir / "config")]
        return all(
            state.st_uid in (os.geteuid(), 0) and not state.st_mode & _BY_OTHERS for state in states
        )
    return False


def _is_harmless(configuration: bytes) -> bool:
    """Return whether a configuration contains only settings that prov writes.

    A value with a backslash is rejected, since it could continue on the next line.
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
