"""Proxies, certificates and passwords for web servers, from the user's settings."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest

from prov.transport.errors import RemoteError
from prov.transport.web_access import authorization, login_in, proxies_of, tls_context

URL = "http://cache.example.org:8080/x"
SECURE = "https://cache.example.org/x"


@pytest.mark.parametrize(
    ("settings", "environment", "plain", "secure"),
    [
        ({}, {}, "", ""),
        ({}, {"http_proxy": "http://p:1"}, "http://p:1", ""),
        ({}, {"HTTP_PROXY": "http://p:1"}, "", ""),
        ({}, {"https_proxy": "http://p:1"}, "", "http://p:1"),
        ({}, {"HTTPS_PROXY": "http://p:1"}, "", "http://p:1"),
        ({}, {"ALL_PROXY": "http://p:1"}, "http://p:1", "http://p:1"),
        ({}, {"all_proxy": "http://a:1", "http_proxy": "http://p:1"}, "http://p:1", "http://a:1"),
        ({}, {"http_proxy": "p:1"}, "http://p:1", ""),
        ({"proxy": "http://git:1"}, {"http_proxy": "http://p:1"}, "http://git:1", "http://git:1"),
    ],
)
def test_proxies(
    settings: dict[str, str], environment: dict[str, str], plain: str, secure: str
) -> None:
    proxies = proxies_of(settings, environment)
    assert proxies.proxy_of(URL) == plain
    assert proxies.proxy_of(SECURE) == secure


@pytest.mark.parametrize(
    ("excluded", "is_used"),
    [
        ("", True),
        ("other.org", True),
        ("ple.org", True),
        ("*", False),
        ("cache.example.org", False),
        ("other.org, example.org", False),
        (".Example.org", False),
        ("cache.example.org:8080", False),
        ("cache.example.org:80", True),
    ],
)
def test_hosts_without_a_proxy(excluded: str, is_used: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        proxies = proxies_of({}, {"http_proxy": "http://p:1", name: excluded})
        assert proxies.proxy_of(URL) == ("http://p:1" if is_used else "")


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("http://host/x", ""),
        ("http://anna:hunter2@host/x", "anna:hunter2"),
        ("http://anna@host/x", "anna:"),
        ("http://a%40b:c%3Ad@host/x", "a@b:c:d"),
    ],
)
def test_the_login_in_a_url(url: str, login: str) -> None:
    assert login_in(url) == login


def test_a_password_comes_from_the_url_or_from_netrc(tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine host login anna password hunter2\n")
    netrc.chmod(0o600)
    home = {"HOME": str(tmp_path)}

    def login(url: str, environment: dict[str, str] = home) -> str:
        value = authorization(url, environment).get("Authorization", "Basic ")
        return base64.b64decode(value.removeprefix("Basic ")).decode()

    assert login("http://host/x") == "anna:hunter2"
    assert login("http://host:8080/x") == "anna:hunter2"
    assert login("http://bob:secret@host/x") == "bob:secret"
    assert login("http://other/x") == ""
    assert login("http://host/x", {}) == ""
    netrc.write_text("machine host nonsense\n")
    assert login("http://host/x") == ""


def test_certificates_are_verified_by_default(tmp_path: Path) -> None:
    for settings in ({}, {"sslverify": "true"}):
        context = tls_context("m", settings)
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    assert tls_context("m", {"sslverify": "False"}).verify_mode == ssl.CERT_NONE
    missing = str(tmp_path / "ca.pem")
    for name in ("sslcainfo", "sslcert"):
        with pytest.raises(RemoteError, match="cannot read certificates"):
            tls_context("m", {name: missing})
