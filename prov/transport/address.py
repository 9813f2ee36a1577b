"""Validate names and URLs of remotes, so that git reads none as an option, command or helper."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from prov.transport.errors import RemoteError

SCHEMES = ("file", "ssh", "git", "http", "https")
_EXAMPLES = "use a URL such as file:///srv/cache or ssh://host/srv/cache"
_SCHEME_HINT = f"use one of the schemes {', '.join(SCHEMES)}"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<host>[^/]*)(?P<path>/.*)?", re.DOTALL)
_SSH_SHORT = re.compile(r"(?P<host>[^/:]+):(?P<path>[^:].*)", re.DOTALL)
_HOST = re.compile(
    r"([^@/\s-][^@/\s]*@)?(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]*)?(:[0-9]+)?",
    re.ASCII,
)


def check_name(name: str) -> str:
    """Return a remote's name if it is valid as a part of a path and of a ref, else raise
    RemoteError.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".lock", ".")):
        raise RemoteError(
            f"invalid remote name {name!r}", hint="use letters, digits, '-', '_' and '.'"
        )
    return name


def parse_address(text: str, folder: Path) -> str:
    """Return a remote's URL; convert a path, absolute or relative to `folder`, to a file:// URL.

    Raises RemoteError if git could read it as an option, a helper (`ext::sh …`) or a command.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise RemoteError(f"invalid URL {text!r}", hint=_EXAMPLES)
    if text.startswith("-") or "::" in text.partition("/")[0].partition("[")[0]:
        raise RemoteError(
            f"invalid URL {text!r}: git would read it as an option or a helper", hint=_EXAMPLES
        )
    url = _URL.fullmatch(text)
    if url:
        return _checked(text, url["scheme"], url["host"], url["path"] or "")
    if "://" in text:
        raise RemoteError(f"invalid URL {text!r}", hint=_SCHEME_HINT)
    short = _SSH_SHORT.fullmatch(text)
    if short and not text.startswith(("/", "./", "../")):
        return _checked(text, "ssh", short["host"], short["path"])
    # git decodes %41 in a URL to A
    path = os.path.normpath(folder / text).replace("%", "%25")
    return _checked(f"file://{path}", "file", "", path)


def _checked(text: str, scheme: str, host: str, path: str) -> str:
    if scheme not in SCHEMES:
        raise RemoteError(f"invalid URL {text!r}: unsupported scheme {scheme}", hint=_SCHEME_HINT)
    match = _HOST.fullmatch(host)
    if match is None or (scheme != "file" and not match["name"]) or _decoded(host).startswith("-"):
        raise RemoteError(f"invalid URL {text!r}: invalid host {host!r}", hint=_EXAMPLES)
    if scheme == "file" and (host or not path):
        raise RemoteError(
            f"invalid URL {text!r}: a file URL requires an absolute path and no host",
            hint=_EXAMPLES,
        )
    if scheme == "ssh" and _decoded(path).lstrip("/").startswith(("-", "~-")):
        raise RemoteError(f"invalid URL {text!r}: its path looks like an option", hint=_EXAMPLES)
    if not _decoded(text).isprintable():
        raise RemoteError(
            f"invalid URL {text!r}: it contains unprintable characters", hint=_EXAMPLES
        )
    return text


def _decoded(text: str) -> str:
    """Return a URL, or a part of it, with percent-encoding decoded, as git does."""
    return os.fsdecode(unquote_to_bytes(text))


def scheme_of(url: str) -> str:
    """Return the scheme of a URL from `parse_address`; `ssh` for `host:path`."""
    return url.partition("://")[0] if "://" in url else "ssh"


def folder_of(url: str) -> Path | None:
    """Return the folder of a file URL, or None for other URLs."""
    return Path(_decoded(url.removeprefix("file://"))) if url.startswith("file://") else None


def git_dir_of(folder: Path) -> Path:
    """Return the git directory of a bare repository, a work tree or a linked work tree."""
    inner = folder / ".git"
    if inner.is_dir():
        return inner
    try:
        own = folder / inner.read_text().removeprefix("gitdir: ").strip()
        return own / (own / "commondir").read_text().strip()
    except (OSError, ValueError):  # ValueError: invalid UTF-8 or a NUL
        return folder


def without_password(url: str) -> str:
    """Return a URL with its password replaced, for messages."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:…@", url)
