"""How web servers are reached: proxies, certificates and passwords.

They are those that the user has set up for git and curl, so that a cache of plain files needs no
settings of its own.
"""

from __future__ import annotations

import base64
import netrc
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prov.transport.errors import RemoteError

PORTS = {"http": 80, "https": 443}
"""The schemes of web servers, with their usual ports."""
_FALSE = ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of a user."""

    by_scheme: Mapping[str, str]
    """Scheme of a URL -> URL of its proxy; empty for none."""
    excluded: tuple[str, ...]
    """Hosts and domains that are reached without a proxy; `*` is all of them."""

    def proxy_of(self, url: str) -> str:
        """Return the URL of the proxy by which a URL is reached; empty for none."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port or PORTS.get(parts.scheme)
        names = (host, f"{host}:{port}")
        if any(_matches(name, pattern) for name in names for pattern in self.excluded):
            return ""
        return self.by_scheme.get(parts.scheme, "")


def _matches(name: str, pattern: str) -> bool:
    return pattern == "*" or name == pattern or name.endswith(f".{pattern}")


def proxies_of(settings: Mapping[str, str], environment: Mapping[str, str]) -> Proxies:
    """Return a user's proxies, by git's settings for a URL, and by the variables that curl reads.

    `HTTP_PROXY` is not one of those: a web server sets it for the programs that it runs.
    """
    variables = {
        "http": ("http_proxy", "all_proxy", "ALL_PROXY"),
        "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    }
    by_scheme = {
        scheme: _with_scheme(settings.get("proxy") or _first(environment, names))
        for scheme, names in variables.items()
    }
    patterns = _first(environment, ("no_proxy", "NO_PROXY")).split(",")
    excluded = (pattern.strip().lstrip(".").lower() for pattern in patterns)
    return Proxies(by_scheme, tuple(pattern for pattern in excluded if pattern))


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _with_scheme(proxy: str) -> str:
    """Return a proxy's URL; curl takes `host:port` for one of http."""
    if not proxy or "://" in proxy:
        return proxy
    return f"http://{proxy}"


def tls_context(remote: str, settings: Mapping[str, str]) -> ssl.SSLContext:
    """Return how certificates are verified, by git's settings.

    Raises RemoteError for files that can't be read.
    """
    try:
        context = ssl.create_default_context(cafile=settings.get("sslcainfo") or None)
        if settings.get("sslcert"):
            context.load_cert_chain(settings["sslcert"], settings.get("sslkey") or None)
    except OSError as error:
        names = ("sslcainfo", "sslcert", "sslkey")
        files = ", ".join(settings[name] for name in names if settings.get(name))
        raise RemoteError(
            f"remote {remote}: certificates can't be read: {error}",
            hint=f"git's settings name {files}",
        ) from error
    if settings.get("sslverify", "true").lower() in _FALSE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def authorization(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the header with the password for a URL: from the URL, or from ~/.netrc; else none."""
    parts = urlsplit(url)
    login = login_in(url) or _netrc_login(environment, parts.hostname or "")
    if not login:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def login_in(url: str) -> str:
    """Return the `user:password` that a URL has; empty for none."""
    parts = urlsplit(url)
    if not parts.username:
        return ""
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def _netrc_login(environment: Mapping[str, str], host: str) -> str:
    """Return the `user:password` that ~/.netrc has for a host; empty for none."""
    path = Path(environment.get("HOME", "/nonexistent"), ".netrc")
    if not path.is_file():
        return ""
    try:
        login = netrc.netrc(path).authenticators(host)
    except (netrc.NetrcParseError, OSError):
        return ""
    return f"{login[0]}:{login[2]}" if login else ""
