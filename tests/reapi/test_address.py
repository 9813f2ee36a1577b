"""Addresses of servers, and the files with their credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.reapi.address import Address, ClientCredentials


@pytest.mark.parametrize(
    ("url", "target", "instance", "is_encrypted"),
    [
        ("grpcs://build1", "build1:443", "", True),
        ("grpcs://build1:8980/main/x", "build1:8980", "main/x", True),
        ("grpcs://[2001:db8::1]:8980", "[2001:db8::1]:8980", "", True),
        ("grpc://localhost:8980/", "localhost:8980", "", False),
        ("grpc://127.0.0.2:1", "127.0.0.2:1", "", False),
        ("grpc://[::1]:1", "[::1]:1", "", False),
    ],
)
def test_an_address_is_parsed(url: str, target: str, instance: str, is_encrypted: bool) -> None:
    assert Address.parse(url) == Address(url, target, instance, is_encrypted)


@pytest.mark.parametrize("url", ["grpc://build1:1", "grpc://10.0.0.1:1", "grpc://[2001:db8::1]:1"])
def test_a_connection_to_a_different_machine_is_encrypted(url: str) -> None:
    with pytest.raises(ProvError, match="unencrypted"):
        Address.parse(url)


@pytest.mark.parametrize("url", ["grpcs://", "http://x", "grpcs://a:b@c", "grpcs://x:1\n"])
def test_an_invalid_address_is_rejected(url: str) -> None:
    with pytest.raises(ProvError, match="invalid address"):
        Address.parse(url)


def test_credentials_are_optional(tmp_path: Path) -> None:
    assert ClientCredentials.read(tmp_path / "missing") == ClientCredentials()
    (tmp_path / "ca.pem").write_bytes(b"pem")
    (tmp_path / "headers").write_text("x-api-key: secret\n\nAuthorization: Bearer a b\n")
    credentials = ClientCredentials.read(tmp_path)
    assert credentials.authority == b"pem"
    assert credentials.headers == (("x-api-key", "secret"), ("authorization", "Bearer a b"))


def test_an_invalid_header_is_reported_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("a: b\nsecret token\n")
    with pytest.raises(ProvError, match=r"headers:2: invalid header$"):
        ClientCredentials.read(tmp_path)
