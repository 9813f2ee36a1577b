"""Read and validate messages from the layer. The layer's module `messages` defines their forms.

A message may come from a layer of another version, or from any other program that can open the
socket. An invalid message raises InvalidMessage, with a text of one line, and never stops the
writer.
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
    InstalledRequest,
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
    "InstalledRequest",
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
    | InstalledRequest
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
    "installed": InstalledRequest,
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
"""Maximum number of characters of an unknown name in an error."""
_HINT = "run `prov bitbake setup BUILDDIR` to use the layer of this prov version"
_Form = TypeVar("_Form")


class InvalidMessage(BitBakeError):
    """A message in a form that the layer does not send."""


def read_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line. Raises InvalidMessage."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("invalid message: not JSON", hint=_HINT) from error
    if not isinstance(value, dict):
        raise InvalidMessage("invalid message: not a JSON object", hint=_HINT)
    return value


def read_names(fields: dict[str, Any]) -> TaskNames:
    """Return the description of the task in a request. Raises InvalidMessage."""
    return _convert("request", fields, TaskNames)


def read_request(fields: dict[str, Any]) -> TaskRequest:
    """Return the request of a task. Raises InvalidMessage."""
    return cast(TaskRequest, _read_kind("request", fields, REQUESTS))


def read_server_word(fields: dict[str, Any]) -> ServerWord:
    """Return the message of BitBake's server. Raises InvalidMessage."""
    return cast(ServerWord, _read_kind("message", fields, SERVER_WORDS))


def read_faked_body(body: bytes) -> FakedBody:
    """Return the owners and modes that a task read under pseudo. Raises InvalidMessage."""
    return _read_body("owners and modes", body, FakedBody)


def read_sysroots_body(body: bytes) -> SysrootsBody:
    """Return the sysroots that a task requests. Raises InvalidMessage."""
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
        raise InvalidMessage(f"invalid {label}: not JSON", hint=_HINT) from error
    return _convert(label, value, form)


def _convert(label: str, value: object, form: type[_Form]) -> _Form:
    """Return a JSON value converted to a form. (msgspec's JSON decoder rejects lone surrogates.)"""
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"invalid {label}: {error}", hint=_HINT) from error
