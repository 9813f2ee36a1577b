"""Authenticate data with a secret key of the user, so that prov trusts only the user's own data.

A store can come from another person. Data that prov must not trust in such a store, such as a
command to run, is stored with a keyed digest. The key is a file outside all stores, so a store's
author cannot forge the digest.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

KEY_BYTES = 32
DIGEST_SIZE = 32
"""The size of a digest in bytes."""


def keyed_digest(
    data: bytes,
    environment: Mapping[str, str] = os.environ,
    *,
    content: bytes | memoryview = b"",
) -> bytes | None:
    """Return the HMAC-SHA256 (32 bytes) of `data` and `content` under the user's key.

    Returns None without a key. Large content is not copied. Start `data` with a word for its
    purpose: a digest made for one purpose must not be valid for another one. The key is `prov/key`
    in $XDG_STATE_HOME, or in ~/.local/state; the first call creates it. Returns None
    if the home directory is missing, read-only or another user's: treat the digest as not written
    by this user.
    """
    folder = _state_folder(environment)
    key = None if folder is None else _key(folder)
    if key is None:
        return None
    code = hmac.new(key, data, hashlib.sha256)
    code.update(content)
    return code.digest()


def is_own(
    data: bytes,
    digest: bytes,
    environment: Mapping[str, str] = os.environ,
    *,
    content: bytes | memoryview = b"",
) -> bool:
    """Return whether `digest` is what `keyed_digest` returns for `data` and `content`."""
    expected = keyed_digest(data, environment, content=content)
    return expected is not None and hmac.compare_digest(expected, digest)


def _state_folder(environment: Mapping[str, str]) -> Path | None:
    """Return prov's state folder, which may not exist, or None if the environment names none."""
    state, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
    if os.path.isabs(state):
        return Path(state, "prov")
    return Path(home, ".local", "state", "prov") if os.path.isabs(home) else None


@functools.cache
def _key(folder: Path) -> bytes | None:
    """Return the key in a folder, creating it if it is missing; None if the folder is unusable."""
    path = folder / "key"
    try:
        # Root can run with another user's HOME, and that user could not use root's key there.
        if not _is_own_folder(folder):
            return None
        if not os.path.lexists(path):
            _create(path)
        return _read(path)
    except OSError:
        return None


def _is_own_folder(folder: Path) -> bool:
    """Return whether this user owns a folder or, if it is missing, its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_uid == os.geteuid()


def _create(path: Path) -> None:
    """Create a key. If two processes do this at once, both use the first key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".key.{secrets.token_hex(8)}")
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        # With a link, the key appears complete, and never replaces another process's key.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _read(path: Path) -> bytes | None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        status = os.fstat(fd)
        private = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o077 == 0
        if not private or status.st_uid != os.geteuid() or status.st_size != KEY_BYTES:
            return None
        return stream.read(KEY_BYTES)
