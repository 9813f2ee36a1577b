"""Choose the next task and its machine. Pure, except for the queue's futures.

The task with the longest way to the end of the build is first. A task prefers the machine that has
the WORKDIR of its chain.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from prov.farm.cluster import Machine
from prov.recipes.graph import Graph
from prov.records.keys import TaskKey

GUESS = 1.0
"""Assumed duration in seconds of a task that was never recorded."""


def critical_paths(graph: Graph, seconds: Mapping[TaskKey, float]) -> dict[TaskKey, float]:
    """Return how long each task and the longest chain of tasks behind it take, in seconds."""
    behind: dict[TaskKey, float] = {}
    paths: dict[TaskKey, float] = {}
    for key in reversed(graph.nodes):  # dependents before their dependencies
        paths[key] = behind.get(key, 0.0) + seconds.get(key, GUESS)
        for edge in graph.nodes[key].edges:
            behind[edge] = max(behind.get(edge, 0.0), paths[key])
    return paths


@dataclass(slots=True)
class Wish:
    """A task that waits for a machine."""

    machine: asyncio.Future[Machine | None]
    """The machine; None if no machine can run the task."""
    chain: str = ""
    needs_network: bool = False
    avoided: Collection[str] = ()
    """Names of machines to use only if there are no others."""
    is_alone: bool = False
    """Whether nothing else of this build may run on the machine."""

    def can_use(self, machine: Machine) -> bool:
        """Return whether a machine can run the task when it is free."""
        return machine.offers_network or not self.needs_network

    def suits(self, machine: Machine) -> bool:
        """Return whether a machine can run the task now."""
        is_free = machine.orders == 0 if self.is_alone else machine.is_free
        return is_free and machine.is_free and self.can_use(machine)


def _is_served(wish: Wish) -> bool:
    return wish.machine.done() and not wish.machine.cancelled()


@dataclass(slots=True)
class Queue:
    """Tasks that wait for machines, by priority."""

    machines: Callable[[], Iterable[Machine]]
    homes: dict[str, str] = field(default_factory=dict)
    """Chain -> the name of the machine that has its WORKDIR."""
    _waiting: list[tuple[float, int, Wish]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    async def acquire(self, wish: Wish, priority: float) -> Machine | None:
        """Wait for a machine and occupy it; return None if no machine can run the task.

        A greater priority is served first.
        """
        heapq.heappush(self._waiting, (-priority, next(self._numbers), wish))
        self.serve()
        try:
            return await wish.machine
        except asyncio.CancelledError:
            machine = wish.machine.result() if _is_served(wish) else None
            if machine is not None:
                self.release(wish, machine)
            raise

    def release(self, wish: Wish, machine: Machine) -> None:
        """Give a machine back."""
        machine.orders -= 1
        if wish.is_alone:
            machine.is_reserved = False
        self.serve()

    def reject(self, *, without_machines: bool) -> None:
        """Answer tasks that no machine can run; also all tasks if there are no machines."""
        machines = [*self.machines()]
        for _, _, wish in self._waiting:
            can_wait = any(map(wish.can_use, machines)) or not (machines or without_machines)
            if not can_wait and not wish.machine.done():
                wish.machine.set_result(None)

    def cancel(self) -> None:
        """Cancel all waiting tasks."""
        for _, _, wish in self._waiting:
            wish.machine.cancel()

    def serve(self) -> None:
        """Assign free machines to waiting tasks."""
        passed = []
        while self._waiting and any(machine.is_free for machine in self.machines()):
            item = heapq.heappop(self._waiting)
            wish = item[2]
            if wish.machine.done():  # it no longer waits
                continue
            machine = self._choose(wish)
            if machine is None:
                passed.append(item)
                continue
            machine.orders += 1
            machine.is_reserved = wish.is_alone
            wish.machine.set_result(machine)
        for item in passed:
            heapq.heappush(self._waiting, item)

    def _choose(self, wish: Wish) -> Machine | None:
        """Return the best free machine for a task, or None."""
        machines = [*self.machines()]
        others = [machine for machine in machines if machine.name not in wish.avoided]
        suitable = [machine for machine in others or machines if wish.suits(machine)]
        if not suitable:
            return None
        home = self.homes.get(wish.chain)
        return min(
            suitable,
            key=lambda machine: (machine.name != home, machine.orders / machine.jobs, machine.name),
        )
