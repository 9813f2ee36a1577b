"""`prov worker` that lies in the way that the variable LIE names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from msgspec import structs
from prov_cli.app import main

from prov.farm import perform, runner
from prov.farm.credentials import Credentials, create_farm, issue
from prov.farm.exchange import WorkerExchange
from prov.farm.order import Receipt, decode, encode, write_result
from prov.records.ids import CommitId
from prov.store.objects import EMPTY_TREE, MODE_FILE, Entry, Oid
from prov.store.repository import Store
from prov.tasks.job import Result

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


def bad_tree(store: Store) -> Oid:
    with store.objects.writer() as writer:
        return writer.add_tree([Entry(b"..", MODE_FILE, writer.add("blob", b"x"))])


def send_bad_parts(store: Store) -> None:
    """Send parts with an invalid name, under a receipt that names them."""
    honest = perform._Performance._parts

    def parts(self: perform._Performance, result: Result) -> list[Entry]:
        with store.objects.writer() as writer:
            bad = writer.add("tree", b"100644 ..\0" + writer.add("blob", b"x"))
        own = [entry for entry in honest(self, result) if entry.name != b"workdir"]
        return [*own, Entry(b"workdir", 0o40000, bad)]

    perform._Performance._parts = parts  # type: ignore[method-assign]


async def answer_text(_name: str, _message: bytes) -> str:
    return "done"


SIGNING: dict[str, Sign] = {
    "stranger": sign_as_stranger,
    "signature": sign_wrongly,
    "format": sign_with_another_prov,
    "order": change(order="1" * 40),
    "inputs": change(inputs="2" * 40),
    "parts": change(parts="3" * 40),
}
PUSHING = {
    "nothing": push_nothing,
    "empty": push_other_tree(empty_tree),
}
LIES = (*SIGNING, *PUSHING, "bad-parts")


def lie(name: str) -> None:
    if name in SIGNING:
        Credentials.sign = SIGNING[name]  # type: ignore[method-assign,assignment]
    elif name in PUSHING:
        WorkerExchange.push = PUSHING[name]  # type: ignore[method-assign,assignment]
    elif name == "bad-parts":
        honest = perform.perform

        def dishonest(site: perform.Site, *rest: object) -> bytes:
            send_bad_parts(site.store)
            return honest(site, *rest)  # type: ignore[arg-type]

        runner.perform = dishonest  # type: ignore[assignment,attr-defined]
    else:
        raise AssertionError(name)


if __name__ == "__main__":
    lie(os.environ["LIE"])
    main()
