"""Messages of the layer: all forms are read, and malformed ones raise an error of one line."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.bitbake.messages import (
    REQUESTS,
    SERVER_WORDS,
    InvalidMessage,
    read_faked_body,
    read_names,
    read_object,
    read_request,
    read_server_word,
    read_sysroots_body,
)
from prov.bitbake.setup import layer
from tests.bitbake.recorded import BUILDS, read

NAMES: dict[str, Any] = {
    "mc": "",
    "pn": "zlib",
    "pv": "1.3",
    "task": "do_compile",
    "setscene": False,
    "workdir": "/builds/zlib/1.3",
    "arch": "core2-64",
    "owned": ["build"],
    "body": 0,
    "pid": 17,
}
OBJECT = ["zlib", "do_package", "sstate:zlib:", "0" * 64]
END: dict[str, Any] = {
    "failed": False,
    "signature": "/builds/zlib/1.3/temp/prov.do_compile.17",
    "taskhash": "0" * 64,
    "unihash": "0" * 64,
    "began": 1,
    "ended": 2.5,
    "log": "",
    "outputs": [],
    "outside": [],
    "sysroot": [],
    "faked": False,
}
MESSAGES: dict[str, dict[str, Any]] = {
    "begin": NAMES,
    "installed": NAMES,
    "end": NAMES | END,
    "lost": NAMES | {"why": "no room"},
    "has": NAMES | {"object": OBJECT},
    "clean": NAMES | {"object": OBJECT},
    "archive": NAMES | {"object": OBJECT, "folder": "/work", "faked": True},
    "unpack": NAMES | {"object": OBJECT, "folder": "/work", "faked": True},
    "sysroot": NAMES,
}
WORDS: dict[str, dict[str, Any]] = {
    "done": {"targets": [], "result": "ok", "began": 1.0, "skipped": [], "executed": []},
    "which": {"objects": {"/a.bb:do_package": OBJECT}, "network": True},
    "equivalences": {"known": [], "network": False},
}
UNUSED = {"pid"}
"""Fields that the layer sends and prov does not read."""


@pytest.mark.parametrize("build", BUILDS)
def test_recorded_messages_are_read(build: str) -> None:
    for line in read(build):
        if "server" in line:
            assert read_server_word(line["server"]).keys() == line["server"].keys()
        else:
            assert read_request(line["asked"]).keys() | UNUSED == line["asked"].keys()


def test_every_kind_has_an_example() -> None:
    assert MESSAGES.keys() == REQUESTS.keys()
    assert WORDS.keys() == SERVER_WORDS.keys()


@pytest.mark.parametrize("kind", MESSAGES)
def test_requests_need_all_their_fields(kind: str) -> None:
    fields = {"what": kind, **MESSAGES[kind]}
    assert read_request(fields)["what"] == kind
    assert read_names(fields)["pn"] == "zlib"
    for name in fields.keys() - UNUSED - {"what"}:
        lacking = {key: value for key, value in fields.items() if key != name}
        with pytest.raises(InvalidMessage, match=f"^invalid request `{kind}`: .*`{name}`$"):
            read_request(lacking)


@pytest.mark.parametrize("kind", WORDS)
def test_words_of_the_server_need_all_their_fields(kind: str) -> None:
    fields = {"what": kind, **WORDS[kind]}
    assert read_server_word(fields)["what"] == kind
    for name in WORDS[kind]:
        lacking = {key: value for key, value in fields.items() if key != name}
        with pytest.raises(InvalidMessage, match=f"^invalid message `{kind}`: .*`{name}`$"):
            read_server_word(lacking)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "invalid request: unknown kind None"),
        ({"what": 7}, "invalid request: unknown kind 7"),
        ({"what": ["x" * 1000]}, "invalid request: unknown kind ['" + "x" * 78),
        (
            {"what": "begin", **NAMES, "pn": 1},
            "invalid request `begin`: Expected `str`, got `int` - at `$.pn`",
        ),
        (
            {"what": "has", **NAMES, "object": ["a"]},
            "invalid request `has`: Expected `array` of length 4, got 1 - at `$.object`",
        ),
    ],
)
def test_errors_name_the_field_and_the_type(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        read_request(fields)
    assert str(caught.value) == error
    assert "prov bitbake setup" in caught.value.hint


def test_names_may_have_undecodable_bytes() -> None:
    """JSON represents them as lone surrogates."""
    fields = read_object(json.dumps({"what": "begin", **NAMES, "owned": ["\udcff"]}).encode())
    assert read_request(fields)["owned"] == ["\udcff"]


@given(st.binary())
def test_any_line_is_an_object_or_an_error(line: bytes) -> None:
    try:
        assert isinstance(read_object(line), dict)
    except InvalidMessage as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"[1]", b"[[], [[1]]]", b"[" * 100_000])
def test_malformed_bodies_are_rejected(body: bytes) -> None:
    with pytest.raises(InvalidMessage, match=r"^invalid owners and modes: "):
        read_faked_body(body)
    with pytest.raises(InvalidMessage, match=r"^invalid sysroots: "):
        read_sysroots_body(body)


def test_bodies_are_read() -> None:
    faked = read_faked_body(b'[["image"], [["image/a", 1, 33188, 0, 5, 0, [["user.x", "00"]]]]]')
    assert (faked.tops, faked.paths[0].path, faked.paths[0].gid) == (["image"], "image/a", 5)
    contents = {"directory": "/s", "packages": [["a", "/c/a", "/m"]], "fixmes": [], "lists": []}
    body = read_sysroots_body(json.dumps({"sysroots": [contents]}).encode())
    assert body["sysroots"][0]["packages"][0].manifest == "/m"


@pytest.mark.parametrize(
    "path", sorted((layer() / "lib").rglob("*.py")), ids=lambda path: str(path.name)
)
def test_layer_is_valid_in_the_oldest_python_that_runs_bitbake(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))
