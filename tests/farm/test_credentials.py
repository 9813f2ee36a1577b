"""Certificates and signed messages."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.errors import ProvError
from prov.farm import credentials as module
from prov.farm.credentials import MOST, Credentials, Forged, canonical, create_farm, issue


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return create_farm(tmp_path_factory.mktemp("farm") / "own", ["localhost", "127.0.0.1", "::1"])


@pytest.fixture(scope="module")
def worker(farm: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return issue(farm.folder, tmp_path_factory.mktemp("worker") / "own", "w1", "worker")


def changed(message: bytes, **fields: Any) -> bytes:
    return canonical(json.loads(message) | fields)


def test_a_message_is_read_by_members(farm: Credentials, worker: Credentials) -> None:
    assert worker.verify(farm.sign(b'{"a":1}'), "coordinator") == (b'{"a":1}', "coordinator")
    assert farm.verify(worker.sign("é".encode()), "worker") == ("é".encode(), "w1")


def test_a_message_needs_the_right_role(farm: Credentials, worker: Credentials) -> None:
    with pytest.raises(Forged, match="w1 is not a coordinator of this farm"):
        worker.verify(worker.sign(b"x"), "coordinator")
    with pytest.raises(Forged, match="coordinator is not a worker of this farm"):
        farm.verify(farm.sign(b"x"), "worker")


def test_forged_messages_are_rejected(
    farm: Credentials, worker: Credentials, tmp_path: Path
) -> None:
    message = worker.sign(b"body")
    stranger = create_farm(tmp_path / "other", [])
    other = issue(stranger.folder, tmp_path / "w1", "w1", "worker")
    false = {
        "invalid signature": changed(message, body="other"),
        "has an invalid signature": changed(message, signature="00"),
        "is not signed": b"{}",
        "not signed: ": b"[" * 100_000,
        "the limit is": b"x" * (MOST + 1),
    }
    for words, text in false.items():
        with pytest.raises(Forged, match=words):
            farm.verify(text, "worker")
    for text in (other.sign(b"body"), changed(message, certificate="x"), b"null", b"", b"\xff"):
        with pytest.raises(Forged):
            farm.verify(text, "worker")


@settings(max_examples=200)
@given(data=st.binary(max_size=200))
def test_no_bytes_pass_for_a_message(farm: Credentials, data: bytes) -> None:
    with pytest.raises(Forged):
        farm.verify(data, "worker")


@settings(max_examples=100)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_canonical_json_has_one_form(value: object) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


def test_an_expired_certificate_is_rejected(
    farm: Credentials, worker: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = worker.sign(b"body")

    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=module.DAYS + 1)
    monkeypatch.setattr(module, "_now", lambda: later)
    with pytest.raises(Forged, match="certificate of w1 has expired"):
        farm.verify(message, "worker")


def test_folders_and_names_are_checked(farm: Credentials, tmp_path: Path) -> None:
    with pytest.raises(ProvError, match=r"has no ca\.pem"):
        Credentials.open(tmp_path)
    with pytest.raises(ProvError, match="is a farm already"):
        create_farm(farm.folder, [])
    with pytest.raises(ProvError, match="invalid name"):
        issue(farm.folder, tmp_path / "x", "a/b", "worker")
    with pytest.raises(ProvError, match=r"has no ca\.key"):
        issue(tmp_path, tmp_path / "x", "w", "worker")
    assert farm.folder.stat().st_mode & 0o777 == 0o700
    assert farm.key.stat().st_mode & 0o777 == 0o600
    assert Credentials.open(farm.folder) == farm
