"""Names and addresses of remotes, checked before git sees them: none is an option, a command or a
helper's name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from prov.transport.errors import RemoteError

SCHEMES = ("file", "ssh", "git", "http", "https")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<host>[^/]*)(?P<path>/.*)?", re.DOTALL)
_SSH_SHORT = re.compile(r"(?P<host>[^/:]+):(?P<path>[^:].*)", re.DOTALL)
_HOST = re.compile(
    r"([^@/\s-][^@/\s]*@)?(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]*)?(:[0-9]+)?",
    re.ASCII,
)


def check_name(name: str) -> str:
    """Return a remote's name if it can be one: a part of a path and of a ref.

    Raises RemoteError.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".lock", ".")):
        raise RemoteError(
            f"{name!r} can't be a remote's name", hint="letters, digits, '-', '_' and '.'"
        )
    return name


def parse_address(text: str, folder: Path) -> str:
    """Return a remote's URL: of what is given as a path, absolute or from `folder`, a file:// one.

    Raises RemoteError for what git could take for an option, a helper (`ext::sh …`) or a command.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise RemoteError(
            f"{text!r} is no URL", hint="as in file:///srv/cache or ssh://host/srv/cache"
        )
    if text.startswith("-") or "::" in text.partition("/")[0].partition("[")[0]:
        raise RemoteError(
            f"{text!r} is refused: git would take it for an option or a helper's name"
        )
    url = _URL.fullmatch(text)
    if url:
        return _checked(text, url["scheme"], url["host"], url["path"] or "")
    if "://" in text:
        raise RemoteError(
            f"{text!r} is no URL", hint=f"one that begins with {', '.join(SCHEMES)}, and ://"
        )
    short = _SSH_SHORT.fullmatch(text)
    if short and not text.startswith(("/", "./", "../")):
        return _checked(text, "ssh", short["host"], short["path"])
    # git takes %41 in a URL for A
    path = os.path.normpath(folder / text).replace("%", "%25")
    return _checked(f"file://{path}", "file", "", path)


def _checked(text: str, scheme: str, host: str, path: str) -> str:
    if scheme not in SCHEMES:
        raise RemoteError(
            f"{text!r}: {scheme}:// is not supported", hint=f"one of {', '.join(SCHEMES)}"
        )
    match = _HOST.fullmatch(host)
    if match is None or (scheme != "file" and not match["name"]) or _decoded(host).startswith("-"):
        raise RemoteError(f"{text!r} is refused: {host!r} is no host")
    if scheme == "file" and (host or not path):
        raise RemoteError(f"{text!r} is no file URL", hint="as in file:///srv/cache")
    if scheme == "ssh" and _decoded(path).lstrip("/").startswith(("-", "~-")):
        raise RemoteError(f"{text!r} is refused: its path looks like an option")
    if not _decoded(text).isprintable():
        raise RemoteError(f"{text!r} is refused: it has characters that nobody can read")
    return text


def _decoded(text: str) -> str:
    """Return a URL, or a part of one, as git reads it."""
    return os.fsdecode(unquote_to_bytes(text))


def scheme_of(url: str) -> str:
    """Return the scheme of a URL that `parse_address` gave; `ssh` for `host:path`."""
    return url.partition("://")[0] if "://" in url else "ssh"


def folder_of(url: str) -> Path | None:
    """Return the folder of a file URL, None for others."""
    return Path(_decoded(url.removeprefix("file://"))) if url.startswith("file://") else None


def git_dir_of(folder: Path) -> Path:
    """Return where a repository in a folder is: bare, with a work tree, or one of several work
    trees.
    """
    inner = folder / ".git"
    if inner.is_dir():
        return inner
    try:
        own = folder / inner.read_text().removeprefix("gitdir: ").strip()
        return own / (own / "commondir").read_text().strip()
    except (OSError, ValueError):  # ValueError: it is no text, or holds a NUL
        return folder


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:…@", url)
