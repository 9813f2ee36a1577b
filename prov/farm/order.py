"""Orders and receipts: what a coordinator asks of a worker, and what the worker answers.

An order is a commit without parents. Its tree contains all that the task starts from:

    order       facts, one JSON object: task, hash, nonce, machine, …
    definition  the task's definition, as in a run's record
    inputs/     the tree whose id is the task hash
    start/      the WORKDIR at the start: content/ and attributes/
    needs/      the outputs for the sysroots, by task
    from/       postprocess scripts of the outputs in the WORKDIR, by task
    files/      local sources and patches: blobs, and folders as content/ and attributes/
    tools/      the host tools
    held        blobs of inputs that contain irreplaceable build paths: hex ids, one a line

An assignment sends a worker the id of an order and the place to fetch it from. The worker answers
with a receipt. Both are canonical JSON, signed by their senders. The result of a task is a commit
without parents with the tree:

    parts/      the parts of a run's record that the worker made, and workdir/
    receipt     the signed receipt, which names parts/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, ValidationError, to_builtins

from prov.errors import ProvError, StoreError
from prov.farm.credentials import canonical
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import read_pair, write_pair
from prov.store.objects import (
    CONSTANT_IDENTITY,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Oid,
)
from prov.store.odb import ObjectWriter
from prov.tasks.definition import Definition
from prov.tasks.taskhash import LocalFile
from prov.worktree.attributes import Pair, TreeReader

FORMAT = 1
ORDER_MESSAGE, RESULT_MESSAGE = "order\n", "result\n"
ORDER, DEFINITION, INPUTS, START = b"order", b"definition", b"inputs", b"start"
NEEDS, FROM, FILES, TOOLS, HELD = b"needs", b"from", b"files", b"tools", b"held"
PARTS, RECEIPT, WORKDIR = b"parts", b"receipt", b"workdir"
Status = Literal["ran", "failed", "unable"]
"""`unable`: the worker could not run the task, for a reason that the task did not cause."""

_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}\Z")]
_NoHex = Annotated[str, Meta(pattern=r"^([0-9a-f]{40})?\Z")]
_Line = Annotated[str, Meta(max_length=4000, pattern=r"^[^\n\0]*\Z")]
Form = TypeVar("Form", bound=Struct)


class Facts(Struct, frozen=True, forbid_unknown_fields=True):
    """The facts of an order."""

    format: int
    nonce: _Line
    """A random text, so that no two orders are one commit."""
    task: _Line
    task_hash: _Hex
    static_key: _NoHex
    """Empty if the result may not be recorded under a static key."""
    start: _Hex
    """The coordinator's commit of the start."""
    chain: _Line
    machine: _Line
    """The processor architecture that the task needs, as `uname -m` prints it."""
    python: _Line
    """The version of Python that runs the task's script, such as 3.11; empty for shell."""
    network: bool
    workdir: _Line
    """The WORKDIR's path at the coordinator, for the record."""
    seen_workdir: _Line
    outputdir: _Line
    time: float
    """When the order was made, in seconds since the epoch."""

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.task)

    @property
    def hash(self) -> TaskHash:
        return TaskHash(bytes.fromhex(self.task_hash))

    @property
    def key_hash(self) -> StaticKey | None:
        return StaticKey(bytes.fromhex(self.static_key)) if self.static_key else None


class Assignment(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to run an order."""

    format: int
    order: _Hex
    """The commit of the order."""
    url: _Line
    """The git repository to fetch the order from and to push the result to."""
    roots: list[_Hex]
    """The large trees of the order: a worker that has them does not fetch them again."""


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """A worker's answer to an order."""

    format: int
    order: _Hex
    inputs: _Hex
    """The task hash that the worker computed."""
    status: Status
    problem: _Line
    parts: _NoHex
    """The tree of the result's parts; empty if the worker was unable to run the task."""
    host: _Line
    began: float
    """When the script started, in seconds since the epoch."""
    seconds: Annotated[float, Meta(ge=0)]
    """Duration of the script."""
    fetched: Annotated[float, Meta(ge=0)]
    pushed: Annotated[float, Meta(ge=0)]
    """Duration of the transfers before and after the task, in seconds."""
    bytes_fetched: Annotated[int, Meta(ge=0)]
    memory: Annotated[int, Meta(ge=0)]
    """Peak memory of the largest process, in bytes."""
    notes: Annotated[list[_Line], Meta(max_length=20)]
    """Notes for the user."""


def encode(form: Struct) -> bytes:
    """Return a form as canonical JSON."""
    return canonical(to_builtins(form))


def decode(data: bytes, kind: type[Form]) -> Form:
    """Parse a form. Raises ProvError if it is invalid or has a different format number."""
    try:
        form: Form = msgspec.json.decode(data, type=kind)
    except (ValidationError, msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ProvError(f"invalid {kind.__name__.lower()}: {error}"[:300]) from error
    number = getattr(form, "format", None)
    if number != FORMAT:
        raise ProvError(
            f"a {kind.__name__.lower()} has format {number}, this prov reads {FORMAT}",
            hint="install the same version of prov on all machines of the farm",
        )
    return form


@dataclass(frozen=True, slots=True)
class Order:
    """What a task starts from, as the coordinator writes it and a worker reads it."""

    facts: Facts
    definition: bytes
    start: Pair
    needs: Mapping[TaskKey, OutputId]
    postprocess: Mapping[TaskKey, bytes]
    """The scripts of the outputs in the WORKDIR, by the task that produced each."""
    tools: Oid
    held: frozenset[Oid]

    def roots(self) -> Iterator[Oid]:
        """Yield the large trees of the order, to choose earlier orders that contain them."""
        yield self.tools
        yield from self.needs.values()
        yield self.start.tree


def write_order(writer: ObjectWriter, order: Order, definition: Definition) -> CommitId:
    """Write an order's objects and return its commit."""
    entries = [
        _text(writer, ORDER, encode(order.facts)),
        _text(writer, DEFINITION, order.definition),
        Entry(INPUTS, MODE_DIRECTORY, order.facts.hash),
        Entry(START, MODE_DIRECTORY, write_pair(writer, order.start)),
        Entry(TOOLS, MODE_DIRECTORY, order.tools),
        _text(writer, HELD, "".join(sorted(f"{oid.hex()}\n" for oid in order.held)).encode()),
    ]
    needs = [Entry(_name(key), MODE_DIRECTORY, oid) for key, oid in order.needs.items()]
    scripts = [_text(writer, _name(key), text) for key, text in order.postprocess.items()]
    files = list(_files(writer, (*definition.sources, *definition.patches)))
    for name, below in ((NEEDS, needs), (FROM, scripts), (FILES, files)):
        if below:
            entries.append(Entry(name, MODE_DIRECTORY, writer.add_tree(below)))
    commit = Commit(writer.add_tree(entries), (), CONSTANT_IDENTITY, ORDER_MESSAGE)
    return CommitId(writer.add_commit(commit))


def read_order(reader: TreeReader, tree: Oid) -> Order:
    """Return the order in a commit's tree. Raises ProvError if it is invalid."""
    parts = {entry.name: entry.oid for entry in reader.tree(tree)}
    missing = {ORDER, DEFINITION, INPUTS, START, TOOLS, HELD} - parts.keys()
    if missing:
        raise StoreError(f"an order has no {b', '.join(sorted(missing)).decode()}")
    facts = decode(reader.blob(parts[ORDER]), Facts)
    if parts[INPUTS] != facts.hash:
        raise StoreError(f"the order of {facts.task} contains the inputs of a different task")
    return Order(
        facts=facts,
        definition=reader.blob(parts[DEFINITION]),
        start=read_pair(reader, parts[START]),
        needs={key: OutputId(oid) for key, oid in _keyed(reader, parts.get(NEEDS))},
        postprocess={key: reader.blob(oid) for key, oid in _keyed(reader, parts.get(FROM))},
        tools=parts[TOOLS],
        held=frozenset(_ids(reader.blob(parts[HELD]))),
    )


def write_result(writer: ObjectWriter, parts: Oid, receipt: bytes) -> CommitId:
    """Write the commit of a result."""
    entries = [Entry(PARTS, MODE_DIRECTORY, parts), _text(writer, RECEIPT, receipt)]
    commit = Commit(writer.add_tree(entries), (), CONSTANT_IDENTITY, RESULT_MESSAGE)
    return CommitId(writer.add_commit(commit))


def _text(writer: ObjectWriter, name: bytes, text: bytes) -> Entry:
    return Entry(name, MODE_FILE, writer.add("blob", text))


def _name(key: TaskKey) -> bytes:
    return key.encode("ascii")


def _keyed(reader: TreeReader, tree: Oid | None) -> Iterator[tuple[TaskKey, Oid]]:
    """Yield the entries of a tree by the tasks that they are named after. Raises ProvError."""
    for entry in reader.tree(tree) if tree is not None else ():
        yield TaskKey.parse(entry.name.decode("utf-8", "replace")), entry.oid


def _ids(text: bytes) -> Iterator[Oid]:
    for line in text.split():
        try:
            yield bytes.fromhex(line.decode("ascii"))
        except ValueError as error:
            raise StoreError(f"an order has an invalid id {line[:50]!r}") from error


def _files(writer: ObjectWriter, files: tuple[LocalFile, ...]) -> Iterator[Entry]:
    """Yield an entry for each local source and patch."""
    for number, file in enumerate(files):
        name = f"{number}".encode()
        if file.node.is_directory:
            yield Entry(name, MODE_DIRECTORY, write_pair(writer, file.node.pair))
        else:
            yield Entry(name, MODE_FILE, file.node.oid)
