"""The layer's messages, validated: the forms are those of the module that the layer ships.

A message may come from a layer of another version, or from any other program that reaches the
socket: a message of the wrong form raises InvalidMessage, in one line, and ends no writer.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast

import msgspec

from prov.bitbake.layer.lib.provlayer.messages import (
    ArchiveRequest,
    BeginRequest,
    BuildDone,
    CleanRequest,
    EndRequest,
    EquivalencesAnswer,
    EquivalencesQuestion,
    ErrorAnswer,
    FakedBody,
    FakedPath,
    HasAnswer,
    HasRequest,
    LostRequest,
    LostWord,
    NoteWord,
    ObjectEntry,
    ObjectParts,
    PackedAnswer,
    PlainWord,
    ReadyWord,
    RecordedWord,
    StagedPackage,
    SysrootBody,
    SysrootRequest,
    SysrootsBody,
    TaskLine,
    TaskNames,
    UnpackedAnswer,
    UnpackRequest,
    WhichAnswer,
    WhichQuestion,
)
from prov.errors import BitBakeError

__all__ = [
    "REQUESTS",
    "SERVER_WORDS",
    "ArchiveRequest",
    "BeginRequest",
    "BuildDone",
    "CleanRequest",
    "EndRequest",
    "EquivalencesAnswer",
    "EquivalencesQuestion",
    "ErrorAnswer",
    "FakedBody",
    "FakedPath",
    "HasAnswer",
    "HasRequest",
    "InvalidMessage",
    "LostRequest",
    "LostWord",
    "NoteWord",
    "ObjectEntry",
    "ObjectParts",
    "PackedAnswer",
    "PlainWord",
    "ReadyWord",
    "RecordedWord",
    "ServerWord",
    "StagedPackage",
    "SysrootBody",
    "SysrootRequest",
    "SysrootsBody",
    "TaskAnswer",
    "TaskLine",
    "TaskNames",
    "TaskRequest",
    "UnpackRequest",
    "UnpackedAnswer",
    "WhichAnswer",
    "WhichQuestion",
    "WriterWord",
    "read_faked_body",
    "read_names",
    "read_object",
    "read_request",
    "read_server_word",
    "read_sysroots_body",
]

TaskRequest = (
    BeginRequest
    | EndRequest
    | LostRequest
    | HasRequest
    | CleanRequest
    | ArchiveRequest
    | UnpackRequest
    | SysrootRequest
)
TaskAnswer = ErrorAnswer | PackedAnswer | UnpackedAnswer | HasAnswer
ServerWord = BuildDone | WhichQuestion | EquivalencesQuestion
WriterWord = (
    ReadyWord | NoteWord | LostWord | PlainWord | WhichAnswer | EquivalencesAnswer | RecordedWord
)

REQUESTS: dict[str, Any] = {
    "begin": BeginRequest,
    "end": EndRequest,
    "lost": LostRequest,
    "has": HasRequest,
    "clean": CleanRequest,
    "archive": ArchiveRequest,
    "unpack": UnpackRequest,
    "sysroot": SysrootRequest,
}
SERVER_WORDS: dict[str, Any] = {
    "done": BuildDone,
    "which": WhichQuestion,
    "equivalences": EquivalencesQuestion,
}
_SHOWN = 80
"""Characters of an unknown name that an error shows."""
_HINT = "is the layer of another version than prov? `prov bitbake setup` updates it"
_Form = TypeVar("_Form")


class InvalidMessage(BitBakeError):
    """A message that is not of a form that the layer sends."""


def read_object(line: bytes) -> dict[str, Any]:
    """Return the object that a line of JSON holds. Raises InvalidMessage."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("invalid message: it is not JSON", hint=_HINT) from error
    if not isinstance(value, dict):
        raise InvalidMessage("invalid message: it is not a JSON object", hint=_HINT)
    return value


def read_names(fields: dict[str, Any]) -> TaskNames:
    """Return what any request says of its task. Raises InvalidMessage."""
    return _convert("request", fields, TaskNames)


def read_request(fields: dict[str, Any]) -> TaskRequest:
    """Return a task's request. Raises InvalidMessage."""
    return cast(TaskRequest, _read_kind("request", fields, REQUESTS))


def read_server_word(fields: dict[str, Any]) -> ServerWord:
    """Return what BitBake's server says or asks. Raises InvalidMessage."""
    return cast(ServerWord, _read_kind("message", fields, SERVER_WORDS))


def read_faked_body(body: bytes) -> FakedBody:
    """Return what pseudo says of files. Raises InvalidMessage."""
    return _read_body("owners and modes", body, FakedBody)


def read_sysroots_body(body: bytes) -> SysrootsBody:
    """Return the sysroots that a task asks for. Raises InvalidMessage."""
    return _read_body("sysroots", body, SysrootsBody)


def _read_kind(label: str, fields: dict[str, Any], forms: dict[str, Any]) -> object:
    kind = fields.get("what")
    if not isinstance(kind, str) or kind not in forms:
        raise InvalidMessage(f"invalid {label}: unknown kind {repr(kind)[:_SHOWN]}", hint=_HINT)
    return _convert(f"{label} `{kind}`", fields, forms[kind])


def _read_body(label: str, body: bytes, form: type[_Form]) -> _Form:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"invalid {label}: the body is not JSON", hint=_HINT) from error
    return _convert(label, value, form)


def _convert(label: str, value: object, form: type[_Form]) -> _Form:
    """Return a value of JSON as one of a form; msgspec's own decoder takes no lone surrogates."""
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"invalid {label}: {error}", hint=_HINT) from error
