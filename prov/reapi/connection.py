"""A connection to a Remote Execution API server.

gRPC starts threads, so only processes that fork no others connect; see `executor`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prov.errors import ProvError
from prov.reapi.address import Address, ClientCredentials
from prov.reapi.blobs import CHUNK, Blob, BlobDigest
from prov.reapi.wire import messages_pb2 as wire

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

INSTALL = "run `pip install 'git-prov[reapi]'`"
BATCH = 3 << 20
"""Maximum bytes of the contents in one message; gRPC's usual limit is 4 MiB for all of it."""
MOST_DIGESTS = 10_000
"""Maximum number of digests in one message."""
MOST_RECEIVED = 64 << 20
"""Maximum bytes of a message that prov receives."""
TIMEOUT = 60.0
"""Seconds for a request; those that execute an action have no limit."""
TIMEOUT_TO_CANCEL = 2.0
RETRIES = 3
"""How often a broken connection to an execution is opened again."""
_EXECUTION = "/build.bazel.remote.execution.v2.Execution"
_STORAGE = "/build.bazel.remote.execution.v2.ContentAddressableStorage"
_CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
_BYTES = "/google.bytestream.ByteStream"
_CANCEL = "/google.longrunning.Operations/CancelOperation"

Answer = TypeVar("Answer", bound="Message")


class ServerFailed(ProvError):
    """A server did not carry out a request."""


class ServerDown(ServerFailed):
    """A server cannot be reached."""


class Evicted(ServerFailed):
    """The server no longer has a content that it had before."""


@dataclass(slots=True)
class Connection:
    """An open connection."""

    address: Address
    channel: grpc.Channel
    headers: tuple[tuple[str, str], ...]
    _present: set[BlobDigest] = field(default_factory=set)
    """Contents that the server has, as it said."""
    _batch: int = BATCH
    """Maximum bytes of the contents in one message that the server accepts."""
    uploaded: int = 0
    """Uploaded bytes."""

    @staticmethod
    def open(address: Address, credentials: ClientCredentials) -> Connection:
        """Prepare a connection. Raises ProvError if grpcio is not installed."""
        grpc = require_grpc()
        options = [
            ("grpc.max_receive_message_length", MOST_RECEIVED),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # servers end connections that ask more often than every five minutes
            ("grpc.keepalive_time_ms", 360_000),
            ("grpc.keepalive_timeout_ms", 20_000),
        ]
        if address.is_encrypted:
            tls = grpc.ssl_channel_credentials(
                credentials.authority, credentials.key, credentials.certificate
            )
            channel = grpc.secure_channel(address.target, tls, options)
        else:
            channel = grpc.insecure_channel(address.target, options)
        return Connection(address, channel, credentials.headers)

    def close(self) -> None:
        self.channel.close()

    # requests

    def _call(self, path: str, request: Message, kind: type[Answer]) -> Answer:
        """Send a request and return the answer. Raises ServerFailed."""
        method = self.channel.unary_unary(path, _encode, kind.FromString)
        answer: Answer = self._checked(
            lambda: method(request, timeout=TIMEOUT, metadata=self.headers, wait_for_ready=False)
        )
        return answer

    def _checked(self, call: Callable[[], Any]) -> Any:
        """Return the result of a call. Raises ServerFailed instead of gRPC's errors."""
        import grpc

        try:
            return call()
        except grpc.RpcError as error:
            raise self._failure(error) from error

    def _failure(self, error: Any) -> ServerFailed:
        import grpc

        details = " ".join(str(error.details() or "").split())[:500]
        code = error.code()
        text = f"{self.address.url}: {code.name.lower().replace('_', ' ')}: {details}"
        if code == grpc.StatusCode.UNAVAILABLE:
            return ServerDown(
                text, hint="check the address and the server, or build without --farm"
            )
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            return Evicted(text)
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return ServerFailed(text, hint="check the files in the folder of --credentials")
        return ServerFailed(text)

    def check(self) -> None:
        """Raise ProvError if the server cannot execute actions of prov."""
        request = wire.GetCapabilitiesRequest(instance_name=self.address.instance)
        able = self._call(_CAPABILITIES, request, wire.ServerCapabilities)
        execution, cache = able.execution_capabilities, able.cache_capabilities
        url = self.address.url
        if not execution.exec_enabled:
            raise ProvError(
                f"{url} executes no actions", hint="use a server with the Execution service"
            )
        if wire.DigestFunction.SHA256 not in (
            *cache.digest_functions,
            *execution.digest_functions,
            execution.digest_function,
        ):
            raise ProvError(
                f"{url} does not accept SHA-256 digests", hint="enable SHA-256 at the server"
            )
        if (able.high_api_version.major, able.high_api_version.minor) < (2, 1):
            raise ProvError(f"{url} implements an API before version 2.1", hint="update the server")
        if cache.max_batch_total_size_bytes > 0:
            self._batch = min(BATCH, cache.max_batch_total_size_bytes)

    # contents

    def upload(self, contents: Iterable[Blob]) -> None:
        """Upload the contents that the server does not have. Raises ServerFailed."""
        new = {
            content.digest: content for content in contents if content.digest not in self._present
        }
        missing = [new[digest] for digest in self._missing([*new])]
        batch: list[Blob] = []
        size = 0
        for content in missing:
            if content.digest.size > self._batch:
                self._write(content)
                continue
            if size + content.digest.size > self._batch or len(batch) >= MOST_DIGESTS:
                self._update(batch)
                batch, size = [], 0
            batch.append(content)
            size += content.digest.size
        self._update(batch)
        self._present.update(new)

    def forget(self) -> None:
        """Ask again which contents the server has."""
        self._present.clear()

    def _missing(self, digests: Sequence[BlobDigest]) -> Iterator[BlobDigest]:
        for part in _parts(digests):
            request = wire.FindMissingBlobsRequest(
                instance_name=self.address.instance,
                blob_digests=[digest.message for digest in part],
            )
            answer = self._call(
                f"{_STORAGE}/FindMissingBlobs", request, wire.FindMissingBlobsResponse
            )
            asked = set(part)
            for message in answer.missing_blob_digests:
                digest = BlobDigest.of_message(message)
                if digest not in asked:
                    raise ServerFailed(f"{self.address.url} misses a content that prov never named")
                yield digest

    def _update(self, contents: Sequence[Blob]) -> None:
        """Upload small contents."""
        if not contents:
            return
        request = wire.BatchUpdateBlobsRequest(
            instance_name=self.address.instance,
            requests=[
                wire.BatchUpdateBlobsRequest.Request(
                    digest=content.digest.message, data=content.read()
                )
                for content in contents
            ],
        )
        answer = self._call(f"{_STORAGE}/BatchUpdateBlobs", request, wire.BatchUpdateBlobsResponse)
        for row in answer.responses:
            self._check_status(row.status, f"cannot store the content {row.digest.hash}")
        self.uploaded += sum(content.digest.size for content in contents)

    def _write(self, content: Blob) -> None:
        """Upload a large content."""
        digest = content.digest
        name = f"{self._prefix}uploads/{uuid.uuid4()}/blobs/{digest.hash}/{digest.size}"

        def requests() -> Iterator[wire.WriteRequest]:
            offset = 0
            for chunk in content.chunks():
                for at in range(0, len(chunk), CHUNK):
                    data = chunk[at : at + CHUNK]
                    end = offset + len(data)
                    yield wire.WriteRequest(
                        resource_name=name,
                        write_offset=offset,
                        data=data,
                        finish_write=end == digest.size,
                    )
                    offset = end

        method = self.channel.stream_unary(
            f"{_BYTES}/Write", _encode, wire.WriteResponse.FromString
        )
        answer = self._checked(lambda: method(requests(), metadata=self.headers))
        if answer.committed_size not in (digest.size, -1):
            raise ServerFailed(f"{self.address.url} did not store the content {digest.hash}")
        self.uploaded += digest.size

    @property
    def _prefix(self) -> str:
        return f"{self.address.instance}/" if self.address.instance else ""

    def read(self, digest: BlobDigest, most: int) -> bytes:
        """Return a content. Raises ServerFailed if it is missing, or has more than `most` bytes."""
        if digest.size > most:
            raise ServerFailed(
                f"{self.address.url} sent a content of {digest.size} bytes, the limit is {most}"
            )
        return b"".join(self._stream(digest))

    def download(self, files: Sequence[tuple[BlobDigest, Path]]) -> None:
        """Write contents to new files. Raises ServerFailed."""
        small: dict[BlobDigest, list[Path]] = {}
        for digest, path in files:
            if digest.size > self._batch:
                with path.open("xb") as stream:
                    for chunk in self._stream(digest):
                        stream.write(chunk)
            else:
                small.setdefault(digest, []).append(path)
        batch: list[BlobDigest] = []
        size = 0
        for digest in small:
            if size + digest.size > self._batch or len(batch) >= MOST_DIGESTS:
                self._download_batch(batch, small)
                batch, size = [], 0
            batch.append(digest)
            size += digest.size
        self._download_batch(batch, small)

    def _download_batch(
        self, digests: Sequence[BlobDigest], paths: dict[BlobDigest, list[Path]]
    ) -> None:
        if not digests:
            return
        request = wire.BatchReadBlobsRequest(
            instance_name=self.address.instance, digests=[digest.message for digest in digests]
        )
        answer = self._call(f"{_STORAGE}/BatchReadBlobs", request, wire.BatchReadBlobsResponse)
        missing = set(digests)
        for row in answer.responses:
            digest = BlobDigest.of_message(row.digest)
            self._check_status(row.status, f"cannot read the content {digest.hash}")
            if digest not in missing or BlobDigest.of(row.data) != digest:
                raise ServerFailed(f"{self.address.url} sent a content with a different digest")
            missing.remove(digest)
            for path in paths[digest]:
                with path.open("xb") as stream:
                    stream.write(row.data)
        if missing:
            raise ServerFailed(f"{self.address.url} did not send {len(missing)} contents")

    def _stream(self, digest: BlobDigest) -> Iterator[bytes]:
        """Yield the chunks of a content. Raises ServerFailed."""
        import grpc

        request = wire.ReadRequest(resource_name=f"{self._prefix}blobs/{digest.hash}/{digest.size}")
        method = self.channel.unary_stream(f"{_BYTES}/Read", _encode, wire.ReadResponse.FromString)
        hasher, size = hashlib.sha256(), 0
        try:
            for part in method(request, metadata=self.headers):
                size += len(part.data)
                if size > digest.size:
                    break
                hasher.update(part.data)
                yield part.data
        except grpc.RpcError as error:
            raise self._failure(error) from error
        if (hasher.hexdigest(), size) != digest:
            raise ServerFailed(f"{self.address.url} sent a content with a different digest")

    # actions

    def execute(self, action: BlobDigest) -> wire.ExecuteResponse:
        """Execute an action and wait for its end; cancel it if this process is interrupted.

        Raises ServerFailed; Evicted if the server lacks a content of the action.
        """
        import grpc

        execution = _Operation(self, action)
        try:
            for _attempt in range(RETRIES):
                try:
                    return execution.follow()
                except grpc.RpcError as error:
                    failure = self._failure(error)
                    if not (isinstance(failure, ServerDown) and execution.name):
                        raise failure from error
            raise failure
        except ServerFailed:
            raise
        except BaseException:
            execution.cancel()
            raise

    def _check_status(self, status: wire.Status, what: str) -> None:
        if status.code:
            raise ServerFailed(f"{self.address.url}: {what}: {status.message[:500]}")


@dataclass(slots=True)
class _Operation:
    """An execution of an action."""

    connection: Connection
    action: BlobDigest
    name: str = ""
    """The server's name of it, when it is known."""

    def follow(self) -> wire.ExecuteResponse:
        """Start the execution, or continue to wait for it. Raises RpcError and ServerFailed."""
        connection = self.connection
        request: wire.ExecuteRequest | wire.WaitExecutionRequest
        if self.name:
            method, request = "WaitExecution", wire.WaitExecutionRequest(name=self.name)
        else:
            method, request = (
                "Execute",
                wire.ExecuteRequest(
                    instance_name=connection.address.instance,
                    skip_cache_lookup=True,
                    action_digest=self.action.message,
                ),
            )
        stream = connection.channel.unary_stream(
            f"{_EXECUTION}/{method}", _encode, wire.Operation.FromString
        )
        for operation in stream(request, metadata=connection.headers):
            self.name = operation.name
            if operation.done:
                return self._response(operation)
        raise ServerFailed(f"{connection.address.url} ended an execution without a result")

    def _response(self, operation: wire.Operation) -> wire.ExecuteResponse:
        response = wire.ExecuteResponse.FromString(operation.response.value)
        status = operation.error if operation.HasField("error") else response.status
        if status.code == _FAILED_PRECONDITION:
            raise Evicted(f"{self.connection.address.url}: {status.message[:500]}")
        self.connection._check_status(status, "cannot execute the action")
        return response

    def cancel(self) -> None:
        """Ask the server to stop the execution."""
        import grpc

        if not self.name:
            return
        connection = self.connection
        method = connection.channel.unary_unary(_CANCEL, _encode, wire.Empty.FromString)
        request = wire.CancelOperationRequest(name=self.name)
        try:
            method(request, timeout=TIMEOUT_TO_CANCEL, metadata=connection.headers)
        except grpc.RpcError:
            return  # not all servers can cancel


_FAILED_PRECONDITION = 9


def _encode(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _parts(digests: Sequence[BlobDigest]) -> Iterator[Sequence[BlobDigest]]:
    for at in range(0, len(digests), MOST_DIGESTS):
        yield digests[at : at + MOST_DIGESTS]


def require_grpc() -> Any:
    """Return the module grpc. Raises ProvError if it is not installed."""
    try:
        import grpc
    except ImportError as error:
        raise ProvError(
            f"a Remote Execution server requires grpcio: {error}", hint=INSTALL
        ) from error
    return grpc
