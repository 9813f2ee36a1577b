"""The address of a Remote Execution API server, and the credentials for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from prov.errors import ProvError

SCHEMES = ("grpc://", "grpcs://")
AUTHORITY, CERTIFICATE, KEY, HEADERS = "ca.pem", "certificate.pem", "key.pem", "headers"
"""Files of the credentials; each may be missing."""
_ADDRESS = re.compile(
    r"(?P<scheme>grpcs?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<instance>(/[A-Za-z0-9._-]+)*)/?"
)
_HEADER = re.compile(r"(?P<name>[A-Za-z0-9_.-]+):[ \t]*(?P<value>[\x20-\x7e]*)")
_PORTS = {"grpc": "80", "grpcs": "443"}


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and an instance there."""

    url: str
    target: str
    """Host and port."""
    instance: str
    is_encrypted: bool

    @staticmethod
    def parse(url: str) -> Address:
        """Parse `grpcs://HOST[:PORT][/INSTANCE]`, or `grpc://` for this machine.

        Raises ProvError.
        """
        parts = _ADDRESS.fullmatch(url)
        if parts is None:
            raise ProvError(
                f"invalid address of a Remote Execution server: {url[:200]!r}",
                hint="use grpcs://HOST[:PORT][/INSTANCE]",
            )
        is_encrypted = parts["scheme"] == "grpcs"
        if not is_encrypted and not _is_loopback(parts["host"].strip("[]")):
            raise ProvError(
                f"{url}: an unencrypted connection to a different machine",
                hint="use grpcs://, or grpc:// with an address of this machine",
            )
        port = parts["port"] or _PORTS[parts["scheme"]]
        instance = parts["instance"].strip("/")
        return Address(url, f"{parts['host']}:{port}", instance, is_encrypted)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The contents of a folder of credentials; None and empty for missing files."""

    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def read(folder: Path) -> ClientCredentials:
        """Read the credentials in a folder. Raises ProvError for an invalid header."""
        headers = _read(folder / HEADERS) or b""
        return ClientCredentials(
            _read(folder / AUTHORITY),
            _read(folder / CERTIFICATE),
            _read(folder / KEY),
            tuple(_parse_headers(headers.decode("utf-8", "replace"), folder / HEADERS)),
        )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProvError(f"cannot read {path}: {error.strerror}") from error


def _parse_headers(text: str, path: Path) -> list[tuple[str, str]]:
    headers = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = _HEADER.fullmatch(line.strip())
        if parts is None:  # the line may be a secret, so the message does not contain it
            raise ProvError(
                f"{path}:{number}: invalid header", hint="use lines such as `name: value`"
            )
        headers.append((parts["name"].lower(), parts["value"]))
    return headers
