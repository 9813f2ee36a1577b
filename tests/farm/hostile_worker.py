"""`prov worker` that lies in the way that the variable LIE names."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import structs
from prov_cli.app import main

from prov.farm import perform
from prov.farm.credentials import Credentials, create_farm, issue
from prov.farm.exchange import WorkerExchange
from prov.farm.order import Receipt, decode, encode, write_result
from prov.records.ids import CommitId
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Entry, Oid, object_id
from prov.store.repository import Store
from prov.tasks.job import Result
from prov.worktree.attributes import FileNode, write_listing

EMPTY_BLOB = object_id("blob", b"")
Sign = Callable[[Credentials, bytes], bytes]
honest_sign = Credentials.sign
honest_push = WorkerExchange.push


def change(**fields: object) -> Sign:
    """Return a function that signs a changed receipt."""

    def sign(credentials: Credentials, body: bytes) -> bytes:
        return honest_sign(credentials, encode(structs.replace(decode(body, Receipt), **fields)))

    return sign


def sign_as_stranger(credentials: Credentials, body: bytes) -> bytes:
    folder = Path(credentials.folder) / "other"
    if not folder.exists():
        create_farm(folder, [])
        issue(folder, folder / "w", "w1", "worker")
    return honest_sign(Credentials(folder / "w"), body)


def sign_wrongly(credentials: Credentials, body: bytes) -> bytes:
    return honest_sign(credentials, body).replace(b'"signature":"30', b'"signature":"31')


def sign_with_another_prov(credentials: Credentials, body: bytes) -> bytes:
    return honest_sign(credentials, body.replace(b'"format":1', b'"format":2'))


def push_nothing(_exchange: WorkerExchange, _result: CommitId) -> None:
    pass


def push_other_tree(make: Callable[[Store], Oid]) -> Callable[[WorkerExchange, CommitId], None]:
    """Return a function that pushes a result with an honest receipt and other parts."""

    def push(exchange: WorkerExchange, result: CommitId) -> None:
        objects = exchange.store.objects
        entries = {entry.name: entry.oid for entry in objects.tree(objects.commit(result).tree)}
        with objects.writer() as writer:
            false = write_result(writer, make(exchange.store), objects.blob(entries[b"receipt"]))
        honest_push(exchange, false)

    return push


def empty_tree(store: Store) -> Oid:
    with store.objects.writer() as writer:
        writer.add_tree([])
    return EMPTY_TREE


SIGNING: dict[str, Sign] = {
    "stranger": sign_as_stranger,
    "signature": sign_wrongly,
    "format": sign_with_another_prov,
    "order": change(order="1" * 40),
    "inputs": change(inputs="2" * 40),
    "parts": change(parts="3" * 40),
}
PUSHING: dict[str, Callable[[WorkerExchange, CommitId], None]] = {
    "nothing": push_nothing,
    "empty": push_other_tree(empty_tree),
}
LIES = (*SIGNING, *PUSHING, "bad-parts", "device", "postprocess", "fixed")


def add_bad_name(store: Store, parts: list[Entry]) -> list[Entry]:
    """Return parts whose WORKDIR has a file with the name `..`."""
    with store.objects.writer() as writer:
        bad = writer.add("tree", b"100644 ..\0" + writer.add("blob", b"x"))
    return [entry._replace(oid=bad) if entry.name == b"workdir" else entry for entry in parts]


def add_device(store: Store, parts: list[Entry]) -> list[Entry]:
    """Return parts whose WORKDIR has a device node."""
    listing = {b"null": FileNode(stat.S_IFCHR | 0o666, EMPTY_BLOB, rdev=(1, 3))}
    with store.objects.writer() as writer:
        writer.add("blob", b"")
        pair = write_listing(writer, listing, mtimes=True)
    assert pair.attributes is not None
    changed = {b"workdir": pair.tree, b"attributes": pair.attributes}
    rest = [entry for entry in parts if entry.name not in changed]
    return [*rest, *(Entry(name, MODE_DIRECTORY, oid) for name, oid in changed.items())]


def add_to_output(entry: bytes, text: bytes) -> Callable[[Store, list[Entry]], list[Entry]]:
    """Return a function that adds a file beside the content of the output."""

    def change_output(store: Store, parts: list[Entry]) -> list[Entry]:
        (output,) = (part.oid for part in parts if part.name == b"output")
        with store.objects.writer() as writer:
            added = Entry(entry, MODE_FILE, writer.add("blob", text))
            tree = writer.add_tree([*store.objects.tree(output), added])
        return [part._replace(oid=tree) if part.name == b"output" else part for part in parts]

    return change_output


CHANGES: dict[str, Callable[[Store, list[Entry]], list[Entry]]] = {
    "bad-parts": add_bad_name,
    "device": add_device,
    "postprocess": add_to_output(b"postprocess", b"touch /tmp/owned"),
    "fixed": add_to_output(b"fixed", b"WORKDIR /elsewhere\n"),
}


@contextmanager
def lie(name: str) -> Iterator[None]:
    """Lie in this context."""
    with pytest.MonkeyPatch.context() as patch:
        if name in SIGNING:
            patch.setattr(Credentials, "sign", SIGNING[name])
        elif name in PUSHING:
            patch.setattr(WorkerExchange, "push", PUSHING[name])
        else:
            change_parts = CHANGES[name]
            honest = perform._Performance._parts

            def parts(self: perform._Performance, result: Result) -> list[Entry]:
                return change_parts(self.site.store, honest(self, result))

            patch.setattr(perform._Performance, "_parts", parts)
        yield


def lying(name: str) -> Callable[[perform.Site, bytes], bytes]:
    """Return a function that answers an order with a lie."""

    def answer(site: perform.Site, message: bytes) -> bytes:
        with lie(name):
            return perform.perform(site, message, "", ())

    return answer


if __name__ == "__main__":
    with lie(os.environ["LIE"]):
        main()
