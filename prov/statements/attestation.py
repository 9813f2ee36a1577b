"""Write a run's record as an in-toto Statement with SLSA provenance.

This module is pure. It turns the evidence from `record_reader.py` into a statement, and a statement
into bytes that are the same for the same record. `dsse.py` signs them. `docs/attestation.md`
describes the build type.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from prov import __version__
from prov.errors import FORGET_RUN, ProvError, StoreError
from prov.history.names import RunName
from prov.tasks.definition import Definition

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:prov:task:v1"
COMMAND_TYPE = "urn:prov:command:v1"
"""The build type of a command of `prov run`, and of `prov capture`, which runs none."""
BUILDER = "urn:prov:builder:"
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


@dataclass(frozen=True, slots=True)
class Artifact:
    """An in-toto resource descriptor: an artifact with a digest."""

    name: str
    digest: Mapping[str, str]
    """Algorithm in in-toto's spelling (sha256, gitTree, gitBlob, gitCommit) -> hex digest."""
    uri: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        fields = {
            "name": self.name,
            "digest": self.digest,
            "uri": self.uri,
            "annotations": self.annotations,
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The data of a successful run's record for an attestation."""

    run: RunName
    facts: Mapping[str, str]
    definition: Definition | None
    """None for a command without a recipe."""
    variables: Mapping[str, str]
    """Unexpanded, as hashed."""
    environment: tuple[str, ...]
    """Names of the variables that the project passes through from the caller.

    Their values are private.
    """
    subjects: tuple[Artifact, ...]
    dependencies: tuple[Artifact, ...]
    byproducts: tuple[Artifact, ...]
    command: str = ""
    """The command of `prov run`, as shell words; empty for a recipe's task and for a capture."""


def statement(evidence: Evidence, *, builder: str = "") -> dict[str, Any]:
    """Return the statement. `builder` is the builder's URI, by default made from the recorded host.

    Raises ProvError if the record names no host, StoreError if it has no times.
    """
    return {
        "_type": STATEMENT,
        "subject": [artifact.table() for artifact in evidence.subjects],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": _build_definition(evidence),
            "runDetails": _run_details(evidence, builder),
        },
    }


def _build_definition(evidence: Evidence) -> dict[str, Any]:
    return {
        "buildType": BUILD_TYPE if evidence.definition else COMMAND_TYPE,
        "externalParameters": _external(evidence),
        "internalParameters": _internal(evidence),
        "resolvedDependencies": [artifact.table() for artifact in evidence.dependencies],
    }


def _external(evidence: Evidence) -> dict[str, Any]:
    """Return the parameters set by the project and the caller of prov."""
    names = {
        "target": evidence.run.key,
        "recipe": evidence.run.key.recipe,
        "task": evidence.run.key.task,
        "environment": list(evidence.environment),
    }
    if evidence.definition is None:
        outputs = shlex.split(evidence.facts.get("outputdir", ""))
        return {**names, "command": evidence.command, "outputs": outputs}
    return {
        **names,
        "version": evidence.definition.version,
        "architecture": evidence.definition.arch_name,
        "variables": dict(evidence.variables),
        "excluded": sorted(evidence.definition.excluded.keys() - {"SOURCES"}),
    }


def _internal(evidence: Evidence) -> dict[str, Any]:
    """Return the parameters of the task's execution."""
    run, facts = evidence.run, evidence.facts
    ids = {"taskHash": run.task_hash.hex(), "tag": run.tag}
    if evidence.definition is None:
        return {**ids, "sandbox": "none", "network": True}
    return {
        **ids,
        "sandbox": facts.get("sandbox", "unknown"),
        "network": bool(evidence.definition.task["network"]),
        "workdir": facts.get("seen-workdir", ""),
        "incremental": "incremental" in facts,
        "aside": "aside" in facts,
    }


def _run_details(evidence: Evidence, builder: str) -> dict[str, Any]:
    began, ended = _times(evidence)
    return {
        "builder": {"id": builder or _builder(evidence), "version": {"prov": __version__}},
        "metadata": {
            "invocationId": evidence.run.commit.hex(),
            "startedOn": began,
            "finishedOn": ended,
        },
        "byproducts": [artifact.table() for artifact in evidence.byproducts],
    }


def _builder(evidence: Evidence) -> str:
    """Return the builder URI of the recorded host.

    SLSA requires different ids for builders with different isolation.
    """
    host = evidence.facts.get("host", "")
    if not host:
        raise ProvError(
            f"the record of {evidence.run.key} names no host",
            hint="pass the builder's URI with --builder-id",
        )
    apart = evidence.facts.get("sandbox") == "bwrap"
    name = quote(host.encode("utf-8", "replace"), safe="")
    suffix = "" if apart else ":no-sandbox"
    return f"{BUILDER}{name}{suffix}"


def is_uri(text: str) -> bool:
    """Return whether a text is a valid builder id: an absolute URI with a lower-case scheme."""
    return _URI.fullmatch(text) is not None


def _times(evidence: Evidence) -> tuple[str, str]:
    try:
        began = float(evidence.facts["began"])
        ended = began + float(evidence.facts["seconds"])
        return _time(began), _time(ended)
    except (KeyError, ValueError, OverflowError, OSError) as error:
        raise StoreError(
            f"the record of {evidence.run.key} has no valid start and end times",
            hint=FORGET_RUN,
        ) from error


def _time(seconds: float) -> str:
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def encode(table: Mapping[str, Any]) -> bytes:
    """Return a statement's bytes: one line of JSON with sorted keys."""
    text = json.dumps(_unicode(table), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"{text}\n".encode()


def _unicode(value: Any) -> Any:
    r"""Return a value with Unicode texts: an invalid byte becomes an escape such as `\udcff`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_unicode(name): _unicode(item) for name, item in value.items()}
    return [_unicode(item) for item in value] if isinstance(value, list) else value
