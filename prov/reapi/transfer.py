"""Send an order to a server, execute it there, and receive the result.

These functions connect to a server, so they run in processes of their own; see `executor`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.errors import ProvError
from prov.intake.digest import Digests
from prov.intake.wellformed import Limits
from prov.processes import ends_with_signals
from prov.reapi.action import COMMIT, HELPER, OBJECTS, ORDER, PROBLEM, PROGRAM, RESULT, START, TOOLS
from prov.reapi.address import Address, ClientCredentials
from prov.reapi.blobs import Blob, BlobDigest, blob_of
from prov.reapi.connection import Connection, Evicted, ServerFailed
from prov.reapi.folders import InputFolder, ObjectFolders, folder_of_files, make_folder
from prov.reapi.helper import helper_files
from prov.reapi.wire import messages_pb2 as wire
from prov.records.ids import CommitId
from prov.remote.receive import digests_of
from prov.store.repository import Store

FOLDER = "reapi"
"""The folder of digests and of received objects in a store's cache."""
PATH = "/usr/local/bin:/usr/bin:/bin"
MOST_TEXT = 1 << 20
"""Maximum bytes of a small file of a result."""
MOST_TREE = 512 << 20
"""Maximum bytes of a result's list of files."""
_ID = re.compile("[0-9a-f]{40}")


class Unable(ProvError):
    """A server could not run a task, for a reason that the task did not cause."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and how actions run there."""

    address: Address
    credentials: ClientCredentials
    properties: Mapping[str, str]
    """The platform properties of all actions."""
    python: str
    """The name of the interpreter there."""
    jobs: int = 1
    """The number of jobs in an action."""


@dataclass(frozen=True, slots=True)
class ReceivedResult:
    """A result in a folder, not examined yet."""

    commit: CommitId
    folder: Path
    """Contains the new objects; their names are their ids."""
    worker: str
    """The name of the worker, as the server says."""
    uploaded: int
    """Bytes uploaded for the order."""


@dataclass(slots=True)
class Transfers:
    """Transfers of a build, in one process."""

    store: Store
    server: Server
    _connection: Connection | None = None
    _helper: InputFolder | None = None
    _digests: Digests | None = None
    _folders: ObjectFolders | None = None

    def _connect(self) -> Connection:
        if self._connection is None:
            connection = Connection.open(self.server.address, self.server.credentials)
            connection.check()
            self._connection = connection
        return self._connection

    def check(self) -> None:
        """Raise ProvError if the server cannot run tasks."""
        url = self.server.address.url
        connection = self._connect()
        result = self._execute(connection, self._root({}, {}))
        if PROBLEM in result.files:
            problem = connection.read(result.files[PROBLEM], MOST_TEXT).decode("utf-8", "replace")
            raise ProvError(
                f"{url} cannot run tasks: {problem}",
                hint="install bubblewrap and git on its workers, and allow user namespaces there",
            )

    def run(self, order: CommitId, folder: Path) -> ReceivedResult:
        """Execute an order; write the new objects of its result into a folder.

        Raises ServerFailed, and Unable if the server could not run the task.
        """
        connection = self._connect()
        self.store.objects.refresh()
        if self._folders is None or self._digests is None:
            self._digests = digests_of(self.store.objects)
            self._folders = ObjectFolders(
                self.store.objects, self._digests, self.store.cache / FOLDER
            )
        uploaded = connection.uploaded
        text = blob_of(f"{order.hex()} {self.server.jobs}\n".encode())
        below = {OBJECTS: self._folders.of_order(order), TOOLS: self._folders.of_tools(order)}
        root = self._root({ORDER: text}, below)
        self._digests.save()
        with ends_with_signals():
            result = self._execute(connection, root)
        return self._receive(connection, result, folder, connection.uploaded - uploaded)

    def _root(self, files: Mapping[str, Blob], below: Mapping[str, InputFolder]) -> InputFolder:
        """Return the input root of an action."""
        if self._helper is None:
            self._helper = folder_of_files(helper_files())
        program = blob_of(START.encode())
        return make_folder({PROGRAM: program, **files}, {HELPER: self._helper, **below})

    def _execute(self, connection: Connection, root: InputFolder) -> _Result:
        """Execute an action; upload its contents before. Raises ServerFailed and Unable."""
        server = self.server
        properties = [
            wire.Platform.Property(name=name, value=value)
            for name, value in sorted(server.properties.items())
        ]
        platform = wire.Platform(properties=properties)
        command = _blob_of_message(
            wire.Command(
                arguments=["/usr/bin/env", server.python, "-I", PROGRAM],
                environment_variables=[
                    wire.Command.EnvironmentVariable(name="PATH", value=PATH),
                ],
                output_paths=[RESULT],
                platform=platform,
            )
        )
        action = _blob_of_message(
            wire.Action(
                command_digest=command.digest.message,
                input_root_digest=root.blob.digest.message,
                do_not_cache=True,
                platform=platform,
            )
        )
        contents = [command, action, *root.contents()]
        connection.upload(contents)
        try:
            response = connection.execute(action.digest)
        except Evicted:
            connection.forget()
            connection.upload(contents)
            response = connection.execute(action.digest)
        return self._read_response(connection, response.result)

    def _read_response(self, connection: Connection, result: wire.ActionResult) -> _Result:
        url = self.server.address.url
        if result.exit_code:
            raise Unable(
                f"{url} cannot run tasks: {self.server.python} failed with status"
                f" {result.exit_code}: {_last_line(connection, result)}",
                hint=f"install {self.server.python}, bubblewrap and git on its workers",
            )
        trees = [row for row in result.output_directories if row.path == RESULT]
        if len(trees) != 1:
            raise ServerFailed(f"{url} sent no result")
        data = connection.read(BlobDigest.of_message(trees[0].tree_digest), MOST_TREE)
        return _Result(listed(data), result.execution_metadata.worker or self.server.address.target)

    def _receive(
        self, connection: Connection, result: _Result, folder: Path, uploaded: int
    ) -> ReceivedResult:
        """Download the objects of a result that the store lacks."""
        if PROBLEM in result.files:
            problem = connection.read(result.files[PROBLEM], MOST_TEXT).decode("utf-8", "replace")
            raise Unable(f"{result.worker} of {self.server.address.url}: {problem}")
        if COMMIT not in result.files:
            raise ServerFailed(f"{self.server.address.url} sent an incomplete result")
        commit = connection.read(result.files[COMMIT], MOST_TEXT).decode("ascii", "replace")
        if not _ID.fullmatch(commit):
            raise ServerFailed(f"{self.server.address.url} sent an invalid id of a result")
        limits, exists = Limits(), self.store.objects.exists
        objects = {
            name: digest
            for name, digest in result.files.items()
            if _ID.fullmatch(name) and not exists(bytes.fromhex(name))
        }
        size = sum(digest.size for digest in objects.values())
        if len(objects) > limits.paths or size > limits.size:
            raise ServerFailed(
                f"{self.server.address.url} sent a result of {len(objects)} objects with {size}"
                f" bytes, the limit is {limits.paths} objects and {limits.size} bytes"
            )
        connection.download([(digest, folder / name) for name, digest in objects.items()])
        return ReceivedResult(CommitId(bytes.fromhex(commit)), folder, result.worker, uploaded)


@dataclass(frozen=True, slots=True)
class _Result:
    """The files of an action's result, and the name of the worker."""

    files: Mapping[str, BlobDigest]
    worker: str


def listed(data: bytes) -> dict[str, BlobDigest]:
    """Return the files of a result's folder, from its Tree message. Raises ServerFailed."""
    from google.protobuf.message import DecodeError

    try:
        tree = wire.Tree.FromString(data)
    except DecodeError as error:
        raise ServerFailed("the server sent an invalid list of files") from error
    files = {row.name: BlobDigest.of_message(row.digest) for row in tree.root.files}
    for name, digest in files.items():
        if not (name in (COMMIT, PROBLEM) or _ID.fullmatch(name)) or digest.size < 0:
            raise ServerFailed(f"the server sent a result with an invalid file {name[:50]!r}")
    return files


def _blob_of_message(message: wire.Command | wire.Action) -> Blob:
    return blob_of(message.SerializeToString(deterministic=True))


def _last_line(connection: Connection, result: wire.ActionResult) -> str:
    """Return the last line that an action printed to standard error."""
    data = result.stderr_raw
    if not data and result.stderr_digest.size_bytes:
        data = connection.read(BlobDigest.of_message(result.stderr_digest), MOST_TEXT)
    lines = data.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:500]
