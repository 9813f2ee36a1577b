"""Tests of fetching results during a build."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.scheduler.fetching import Fetcher
from prov.scheduler.workers import Workers

KEY, HASH, STATIC = TaskKey("zlib:compile"), TaskHash(b"h" * 20), StaticKey(b"s" * 20)


def fetcher(published: Any) -> Fetcher:
    known: Any = SimpleNamespace(published=published)
    return Fetcher(known, Workers(), lambda text: None)


def test_a_result_of_no_remote_is_not_fetched() -> None:
    nowhere = fetcher(lambda key, task_hash: None)
    assert asyncio.run(nowhere.fetch(KEY, HASH, STATIC)) is False


def test_an_unexpected_error_reaches_every_request() -> None:
    def broken(key: TaskKey, task_hash: TaskHash) -> None:
        raise RuntimeError("the index is not what it should be")

    async def ask_twice() -> list[bool | BaseException]:
        source = fetcher(broken)
        requests = [source.fetch(KEY, HASH, STATIC), source.fetch(KEY, TaskHash(b"i" * 20), STATIC)]
        return await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), 10)

    answers = asyncio.run(ask_twice())
    assert [str(answer) for answer in answers] == ["the index is not what it should be"] * 2


def test_simultaneous_requests_are_all_answered() -> None:
    asked: list[TaskKey] = []

    async def ask_twice() -> list[bool]:
        source = fetcher(lambda key, task_hash: asked.append(key))
        requests = [source.fetch(KEY, HASH, STATIC), source.fetch(KEY, TaskHash(b"i" * 20), STATIC)]
        return await asyncio.gather(*requests)

    assert asyncio.run(ask_twice()) == [False, False]
    assert asked == [KEY, KEY]
