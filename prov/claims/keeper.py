"""Keep a build's claims at a remote, in a process beside the build.

The build asks for tasks that are ready to run. The process claims them, or waits for the builds
that have claimed them. It renews its claims until the publisher has published the results, also
after the build, and releases those of failed tasks. If the build or the publisher is killed, the
process releases what they cannot finish. If it is killed itself, its claims expire.

The messages are lines. From the build:

| line | meaning |
|---|---|
| `want HASH` | claim a task, or wait for the build that has claimed it |
| `done HASH` | the publisher has the task's result |
| `drop HASH` | release the claim: the task failed, or has no result to publish |

To the build:

| line | meaning |
|---|---|
| `run HASH` | run the task |
| `wait HASH HOLDER` | a different build runs it; `run` or `found` follows |
| `found HASH` | the remote has a result, and its index here is updated |
| `note TEXT` | a warning for the user |

From the publisher: `drop HASH` for each task that it has published or cannot publish.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from prov.claims.remote_claims import SECONDS, Claim, Claims
from prov.errors import ProvError
from prov.processes import start_detached
from prov.records.ids import StaticKey, TaskHash
from prov.remote.git_remote import GitRemote
from prov.remote.index import Index
from prov.remote.opening import open_git_remote
from prov.remote.settings import Remote
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import printable
from prov.transport.access import Access
from prov.transport.errors import Declined

RENEW_EVERY = SECONDS / 3
LOOK_EVERY = 2.0
"""Seconds between looks at the remote while the build waits for a different one."""
LONGEST_WAIT = 4 * 3600.0
"""Seconds after which a build runs a task itself, however often the claim is renewed."""


class ClaimStore(Protocol):
    """Where builds claim tasks: `prov.claims.remote_claims.Claims`."""

    def read(self) -> dict[Oid, Claim]: ...

    def take(self, expected: Mapping[Oid, Oid | None]) -> dict[Oid, Oid]: ...

    def release(self, held: Mapping[Oid, Oid]) -> None: ...


@dataclass(slots=True)
class SeenClaim:
    """The claim of a different build, and when this process first saw its commit."""

    claim: Claim
    since: float
    is_announced: bool = False


@dataclass(slots=True)
class Keeper:
    """The claims of one build. `now` is a clock in seconds."""

    claims: ClaimStore
    find: Callable[[Iterable[Oid]], set[Oid]]
    """Updates the remote's index and returns the tasks that it has results of."""
    answer: Callable[[str], None]
    """Sends a line to the build."""
    now: Callable[[], float] = time.monotonic
    held: dict[Oid, Oid] = field(default_factory=dict)
    finished: set[Oid] = field(default_factory=set)
    """Held claims of tasks whose results the publisher has."""
    wanted: dict[Oid, float] = field(default_factory=dict)
    """Tasks that the build waits for, with the times of its requests."""
    seen: dict[Oid, SeenClaim] = field(default_factory=dict)
    """The claims that the wanted tasks wait for."""
    has_publisher: bool = True
    may_claim: bool = True
    """False if the build does not publish, or the server forbids it. It then waits for others."""
    works: bool = True
    _released: dict[Oid, Oid] = field(default_factory=dict)
    _next_look: float = 0.0
    _next_renewal: float = 0.0

    def from_build(self, line: str) -> None:
        """Take a line of the build."""
        word, result = _parse(line)
        if word == "want":
            self.wanted[result] = self.now()
            self._next_look = 0.0
        elif word == "done" and self.has_publisher:
            self.finished |= self.held.keys() & {result}
        else:
            self._drop(result)

    def from_publisher(self, line: str) -> None:
        """Take a line of the publisher."""
        self._drop(_parse(line)[1])

    def build_ended(self) -> None:
        """Release the claims of tasks whose results the publisher does not have."""
        for result in [*self.wanted, *(self.held.keys() - self.finished)]:
            self._drop(result)

    def publisher_ended(self) -> None:
        """Release the claims of tasks that the publisher has not published."""
        self.has_publisher = False
        for result in [*self.finished]:
            self._drop(result)

    def _drop(self, result: Oid) -> None:
        self.wanted.pop(result, None)
        self.finished.discard(result)
        if result in self.held:
            self._released[result] = self.held.pop(result)

    def pause(self) -> float | None:
        """Return the seconds until `work` has something to do, or None if it has nothing."""
        if self._released:
            return 0.0
        times = [self._next_look] if self.wanted else []
        times += [self._next_renewal] if self.held else []
        return max(0.0, min(times) - self.now()) if times else None

    def work(self) -> None:
        """Release, renew, claim and look as is due. A failure ends the use of claims."""
        try:
            if self.works:
                self._work()
        except (ProvError, OSError) as error:
            self.works = False
            self.answer(f"note {printable(str(error))}; tasks are not claimed there")
        if not self.works:
            self._released.clear()
            self.held.clear()
            self._answer("run", [*self.wanted])

    def _work(self) -> None:
        if self._released:
            released, self._released = self._released, {}
            self.claims.release(released)
        if self.held and self.now() >= self._next_renewal:
            # a claim that was taken over changes nothing: the running task's result is as good
            self.held |= self.claims.take(self.held)
            self._next_renewal = self.now() + RENEW_EVERY
        if self.wanted and self.now() >= self._next_look:
            self._look()
            # at different times than other builds that wait for the same claim
            self._next_look = self.now() + LOOK_EVERY * random.uniform(0.75, 1.25)

    def _look(self) -> None:
        """Claim the wanted tasks that are free, and answer those that can be."""
        self._answer("run", [*(self.held.keys() & self.wanted), *self._out_of_patience()])
        waiting = self.wanted.keys() & self.seen
        if waiting or not self.may_claim:
            self._watch()
            # a holder publishes before it releases
            ended = waiting - self.seen.keys()
            self._answer("found", self.find(ended) if ended else ())
        self._claim()
        if self.wanted and self.wanted.keys() - self.seen.keys():
            self._watch()
        self._announce()

    def _out_of_patience(self) -> list[Oid]:
        last = self.now() - LONGEST_WAIT
        return [result for result, since in self.wanted.items() if since < last]

    def _watch(self) -> None:
        """Read the claims that the wanted tasks wait for."""
        there, now = self.claims.read(), self.now()
        before, self.seen = self.seen, {}
        for result in self.wanted.keys() & there:
            claim, last = there[result], before.get(result)
            if last is None:
                last = SeenClaim(claim, now)
            elif last.claim.commit != claim.commit:
                last = SeenClaim(claim, now, last.is_announced)
            self.seen[result] = last

    def _claim(self) -> None:
        """Claim the free tasks, and let the build run those that no result was published of."""
        free: dict[Oid, Oid | None] = {}
        for result in self.wanted:
            seen = self.seen.get(result)
            if seen is None:
                free[result] = None
            elif seen.since + seen.claim.seconds <= self.now():
                free[result] = seen.claim.commit
        if not free:
            return
        ready = self._take(free) if self.may_claim else free.keys()
        # a result may have been published between the last update of the index and the claim
        found = self.find(ready) if ready else set()
        self._answer("found", found)
        self._answer("run", ready - found)

    def _take(self, free: Mapping[Oid, Oid | None]) -> set[Oid]:
        """Claim tasks; return those whose claims succeeded."""
        try:
            taken = self.claims.take(free)
        except Declined as error:
            self.may_claim = False
            self.answer(f"note {printable(str(error))}; this build's tasks are not claimed there")
            self._watch()
            return free.keys() - self.seen.keys()
        if not self.held:
            self._next_renewal = self.now() + RENEW_EVERY
        self.held |= taken
        return {*taken}

    def _answer(self, word: str, results: Iterable[Oid]) -> None:
        """Answer requests; release the claims of found results."""
        for result in results:
            self.answer(f"{word} {result.hex()}")
            if word == "found":
                self._drop(result)
            self.wanted.pop(result, None)

    def _announce(self) -> None:
        for result in self.wanted:
            seen = self.seen.get(result)
            if seen is not None and not seen.is_announced:
                seen.is_announced = True
                self.answer(f"wait {result.hex()} {seen.claim.holder}")


def _parse(line: str) -> tuple[str, Oid]:
    word, _, text = line.partition(" ")
    return word, bytes.fromhex(text)


@dataclass(frozen=True, slots=True)
class KeeperPipes:
    """The pipes between a build, its publishers and its keeper."""

    remote: str
    """The remote of the claims."""
    requests: int
    """The build writes requests."""
    answers: int
    """The build reads answers."""
    published: int
    """The publisher writes what it has published."""

    def close(self) -> None:
        """Close the build's ends."""
        os.close(self.requests)
        os.close(self.answers)

    def close_published(self) -> None:
        """Close the publisher's end, in every other process."""
        os.close(self.published)

    def drop(self, results: Iterable[Oid]) -> None:
        """As the publisher, let the keeper release claims."""
        for result in results:
            with contextlib.suppress(BrokenPipeError):
                os.write(self.published, f"drop {result.hex()}\n".encode())


def claimed_remote(remotes: Iterable[Remote]) -> Remote | None:
    """Return the first remote that is used for claims."""
    return next((remote for remote in remotes if remote.claims and not remote.static), None)


@contextlib.contextmanager
def keeping_claims(
    store: Store, remotes: Iterable[Remote], access: Access
) -> Iterator[KeeperPipes | None]:
    """Run a keeper of claims at the first remote with claims; None without one."""
    remote = claimed_remote(remotes)
    if remote is None:
        yield None
        return
    pipes = start_keeper(store, remote, access)
    try:
        yield pipes
    finally:
        pipes.close()


def start_keeper(
    store: Store, remote: Remote, access: Access, prepare: Callable[[], None] = lambda: None
) -> KeeperPipes:
    """Start the process that keeps a build's claims at a remote. It calls `prepare` first."""
    requests, request_writer = os.pipe()
    answers, answer_writer = os.pipe()
    published, published_writer = os.pipe()
    pipes = KeeperPipes(remote.name, request_writer, answers, published_writer)
    # the processes of running tasks keep its pipes open if the build is killed
    build = os.pidfd_open(os.getpid())

    def serve() -> None:
        prepare()
        # an end of these pipes here would hide the end of the other processes
        pipes.close()
        pipes.close_published()
        opened = open_git_remote(remote, store, access)
        with opened.scratch(without_store=True) as scratch:
            claims = Claims(opened, scratch, socket.gethostname())
            keeper = Keeper(claims, partial(find_results, opened), _writer(answer_writer))
            keeper.may_claim = remote.push
            _serve(keeper, requests, published, build)

    start_detached(serve)
    for fd in (requests, answer_writer, published, build):
        os.close(fd)
    return pipes


def find_results(remote: GitRemote, results: Iterable[Oid]) -> set[Oid]:
    """Update a remote's index; return the results that it has. Raises Unreachable.

    A result is named by its task hash or, if BitBake made it, by its static key.
    """
    wanted = [*results]
    remote.refresh(whole=False)
    remote.look_up(wanted)
    return {result for result in wanted if _has_result(remote.index, result)}


def _has_result(index: Index, result: Oid) -> bool:
    """Return whether an index has a task hash or a static key."""
    by_hash = index.find(TaskHash(result))
    return bool(by_hash) or index.find_static(StaticKey(result)) is not None


def _writer(fd: int) -> Callable[[str], None]:
    def write(line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(fd, f"{line}\n".encode())

    return write


def _serve(keeper: Keeper, requests: int, published: int, build: int) -> None:
    """Pass lines to a keeper until its build and its publisher have ended.

    `build` is the pidfd of the build's process.
    """
    takes = {requests: keeper.from_build, published: keeper.from_publisher}
    texts = dict.fromkeys(takes, b"")
    while takes:
        watched = [*takes, build] if requests in takes else [*takes]
        ready, _, _ = select.select(watched, [], [], keeper.pause())
        for fd in ready:
            chunk = os.read(fd, 1 << 16) if fd != build else b""
            if chunk:
                *lines, texts[fd] = (texts[fd] + chunk).split(b"\n")
                for line in lines:
                    takes[fd](line.decode())
            elif fd == published:
                keeper.publisher_ended()
                del takes[published]
            elif requests in takes:
                keeper.build_ended()
                del takes[requests]
        keeper.work()
    keeper.work()
