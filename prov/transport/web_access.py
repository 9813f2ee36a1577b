"""Proxies, certificates and passwords for web servers.

prov uses the user's settings for git and curl, so static caches require no further settings.
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
"""URL scheme -> default port."""
_FALSE = ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Proxies:
    """A user's proxy settings."""

    by_scheme: Mapping[str, str]
    """URL scheme -> URL of its proxy, or ""."""
    excluded: tuple[str, ...]
    """Hosts and domains to connect to directly; `*` matches all."""

    def proxy_of(self, url: str) -> str:
        """Return the URL of the proxy for a URL, or "" for a direct connection."""
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
    """Return a user's proxies, from git's `http.*` settings and the variables that curl reads.

    Like curl, this ignores `HTTP_PROXY`: in a CGI program it holds the `Proxy` header of a request.
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
    """Return a proxy's URL; like curl, use http for `host:port`."""
    if not proxy or "://" in proxy:
        return proxy
    return f"http://{proxy}"


def tls_context(remote: str, settings: Mapping[str, str]) -> ssl.SSLContext:
    """Return the TLS context for git's `http.*` settings.

    Raises RemoteError if a certificate or key file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=settings.get("sslcainfo") or None)
        if settings.get("sslcert"):
            context.load_cert_chain(settings["sslcert"], settings.get("sslkey") or None)
    except OSError as error:
        names = ("sslcainfo", "sslcert", "sslkey")
        files = ", ".join(settings[name] for name in names if settings.get(name))
        raise RemoteError(
            f"remote {remote}: cannot read certificates: {error}",
            hint=f"correct the paths in git's http settings: {files}" if files else "",
        ) from error
    if settings.get("sslverify", "true").lower() in _FALSE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def authorization(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the header with the password from the URL or ~/.netrc; {} without a password."""
    parts = urlsplit(url)
    login = login_in(url) or _netrc_login(environment, parts.hostname or "")
    if not login:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def login_in(url: str) -> str:
    """Return the `user:password` in a URL, or ""."""
    parts = urlsplit(url)
    if not parts.username:
        return ""
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def _netrc_login(environment: Mapping[str, str], host: str) -> str:
    """Return the `user:password` for a host in ~/.netrc, or ""."""
    path = Path(environment.get("HOME", "/nonexistent"), ".netrc")
    if not path.is_file():
        return ""
    try:
        login = netrc.netrc(path).authenticators(host)
    except (netrc.NetrcParseError, OSError):
        return ""
    return f"{login[0]}:{login[2]}" if login else ""
