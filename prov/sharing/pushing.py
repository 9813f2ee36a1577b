"""Publishing what a store has: at once, or in the background while a build goes on.

The process in the background is told of each result as it is made. The build never waits for it,
neither while it runs nor at its end: what is left then is published after it, and what became of it
is told by the next build.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import ProvError
from prov.files import replace_file
from prov.processes import start_detached
from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import OutputRef
from prov.remote.opening import AnyRemote, open_git_remote
from prov.remote.publish import PushOutcome, publish
from prov.remote.receive import digests_of
from prov.remote.settings import Remote
from prov.remote.static.export import export, exported
from prov.sharing.results import Shareable, add_digests, holds, offer, other_runs
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import few
from prov.transport.access import Access

QUIET = 5.0
"""Seconds without a new result after which those that there are go out."""
ENOUGH = 200
"""So many results go out at once, however busy the build is."""
_PIPE_SIZE = 1 << 20


def push(
    store: Store,
    remote: Remote,
    access: Access,
    results: Sequence[Shareable],
    *,
    used: Iterable[Oid] = (),
    workdirs: bool = False,
) -> PushOutcome:
    """Publish those results that a remote lacks.

    Raises ProvError for what prevents it, Unreachable for instance.
    """
    opened = open_git_remote(remote, store, access)
    opened.refresh()
    new = [each for each in results if workdirs or not _published(store, opened, each)]
    withheld: dict[str, str] = {}
    with store.objects.writer() as writer:
        offered = offer(store, writer, new, workdirs=workdirs, withheld=withheld)
    offered = add_digests(digests_of(store.objects), offered)
    outcome = publish(opened, offered, used, holds=lambda task: holds(store, task))
    outcome.known += len(results) - len(new)
    outcome.withheld = withheld
    return outcome


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did."""

    count: int
    """Results that were written."""
    known: int
    """Results that the folder had."""
    size: int
    """Bytes that it grew by."""
    withheld: Mapping[str, str]
    """Task -> why its result is not shared."""


def export_results(
    store: Store, folder: Path, results: Sequence[Shareable], *, key: str
) -> Exported:
    """Write those results that a folder of plain files lacks."""
    known = exported(folder)
    withheld: dict[str, str] = {}
    with store.objects.writer() as writer:
        offered = offer(store, writer, results, withheld=withheld)
    new = [task for task in offered if (task.task_hash, task.output) not in known]
    if new:
        _remember_export(store, folder)
    size = (
        export(store.objects, folder, add_digests(digests_of(store.objects), new), key=key)
        if offered
        else 0
    )
    return Exported(len(new), len(offered) - len(new), size, withheld)


def _exports(store: Store) -> Path:
    return store.cache / "exports"


def _remember_export(store: Store, folder: Path) -> None:
    known = exported_folders(store)
    if folder not in known:
        replace_file(
            _exports(store), b"".join(os.fsencode(each) + b"\0" for each in (*known, folder))
        )


def exported_folders(store: Store) -> list[Path]:
    """Return the folders that this store has exported to."""
    try:
        return [
            Path(os.fsdecode(each)) for each in _exports(store).read_bytes().split(b"\0") if each
        ]
    except FileNotFoundError:
        return []


def why_nothing(store: Store, results: Sequence[Shareable], withheld: Mapping[str, str]) -> str:
    """Return why none of some results is shared; empty if there are none to share."""
    if results:
        return "; ".join(reasons(withheld))
    others = other_runs(store)
    if not others:
        return ""
    runs = "the recorded run is" if others == 1 else f"all {others} recorded runs are"
    return f"{runs} of `prov run` or `prov capture`, which have no output"


def reasons(withheld: Mapping[str, str]) -> list[str]:
    """Return a line for each reason why results are not shared, with the tasks."""
    tasks: dict[str, list[str]] = {}
    for key, why in withheld.items():
        tasks.setdefault(why, []).append(key)
    return [f"{few(keys)}: {why}" for why, keys in tasks.items()]


def _published(store: Store, remote: AnyRemote, result: Shareable) -> bool:
    there = remote.index.find(result.task_hash)
    commit = store.refs.get(str(OutputRef(result.key, result.task_hash))) if there else None
    return commit is not None and store.objects.commit(commit).tree in {
        each.output for each in there
    }


@dataclass(slots=True)
class Publisher:
    """A process that publishes to one remote what it is told of."""

    store: Store
    remote: Remote
    pipe: int
    whole: list[Shareable] = field(default_factory=list)
    """All that the build has in the end."""

    @staticmethod
    def start(store: Store, remote: Remote, access: Access) -> Publisher:
        reader, writer = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        os.set_blocking(writer, False)
        replace_file(status_file(store, remote.name), b"running\n", durable=False)
        start_detached(lambda: _serve(store, remote, access, reader, writer))
        os.close(reader)
        return Publisher(store, remote, writer)

    def offer(self, key: TaskKey, task_hash: TaskHash, static_key: StaticKey) -> None:
        """Tell of a result. If the process can't keep up, it hears of it at the end."""
        self._tell(f"result {key} {task_hash.hex()} {static_key.hex()}\n")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self.pipe, line.encode())

    def close(self) -> str:
        """Let the process publish the rest, all that the build has; return what went wrong so
        far.
        """
        path = status_file(self.store, self.remote.name).with_name(
            f"rest-{os.getpid()}-{self.pipe}"
        )
        with contextlib.suppress(OSError):
            replace_file(path, "".join(_line(each) for each in self.whole).encode(), durable=False)
            self._tell(f"rest {path.name}\n")
        os.close(self.pipe)
        return last_problem(self.store, self.remote.name)


@contextlib.contextmanager
def publishing(
    store: Store, remotes: Iterable[Remote], access: Access, note: Callable[[str], None]
) -> Iterator[list[Publisher]]:
    """Yield what publishes in the background, for each of these remotes that builds publish to."""
    chosen = [remote for remote in remotes if remote.push]
    for remote in chosen:
        problem = last_problem(store, remote.name)
        if problem:
            note(f"the last push to {remote.name} failed: {problem}")
        for warning in last_warnings(store, remote.name):
            note(warning)
    publishers = [Publisher.start(store, remote, access) for remote in chosen]
    try:
        yield publishers
    finally:
        for publisher in publishers:
            problem = publisher.close()
            if problem:
                note(f"nothing is published to {publisher.remote.name}: {problem}")


def _line(result: Shareable) -> str:
    return f"{result.key} {result.task_hash.hex()} {result.static_key.hex()}\n"


def _parse(words: Sequence[str]) -> Shareable:
    key, task_hash, static_key = words
    return Shareable(
        TaskKey(key), TaskHash(bytes.fromhex(task_hash)), StaticKey(bytes.fromhex(static_key))
    )


def status_file(store: Store, name: str) -> Path:
    """Return the file that tells how the last push in the background went."""
    folder = store.cache / "remotes" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "last-push"


def last_problem(store: Store, name: str) -> str:
    """Return what went wrong in the last push in the background, empty if nothing did."""
    try:
        text = status_file(store, name).read_text()
    except FileNotFoundError:
        return ""
    return text.removeprefix("failed ").strip() if text.startswith("failed ") else ""


def last_warnings(store: Store, name: str) -> list[str]:
    """Return what the user should know of the last push in the background; the next one forgets
    it.
    """
    try:
        lines = status_file(store, name).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line.removeprefix("warning ") for line in lines if line.startswith("warning ")]


def _serve(store: Store, remote: Remote, access: Access, pipe: int, other_end: int) -> None:
    """Publish what comes through the pipe until it ends."""
    os.close(other_end)
    status, count = status_file(store, remote.name), 0
    warnings: list[str] = []
    try:
        for results, last in _batches(pipe, status.parent):
            used = [each.task_hash for each in results] if last else ()
            outcome = push(store, remote, access, results, used=used, workdirs=remote.workdirs)
            count += len(outcome.published)
            warnings += outcome.notes
        text = f"ok {count}\n" + "".join(f"warning {each}\n" for each in warnings)
        replace_file(status, text.encode(), durable=False)
    except (ProvError, OSError) as error:
        replace_file(status, f"failed {error}\n".encode(), durable=False)


def _batches(pipe: int, folder: Path) -> Iterable[tuple[list[Shareable], bool]]:
    """Yield results as they are worth a push; the last time, all that the build has."""
    text, rest = b"", folder / "none"
    waiting: list[Shareable] = []
    while True:
        ready, _, _ = select.select([pipe], [], [], QUIET if waiting else None)
        chunk = os.read(pipe, 1 << 16) if ready else b""
        text += chunk
        *lines, text = text.split(b"\n")
        for line in lines:
            word, *words = line.decode().split(" ")
            if word == "result":
                waiting.append(_parse(words))
            else:
                rest = folder / words[0]
        if waiting and (not ready or len(waiting) >= ENOUGH):
            yield waiting, False
            waiting = []
        if ready and not chunk:
            break
    if rest.exists():
        waiting = [_parse(line.split(" ")) for line in rest.read_text().splitlines()]
        rest.unlink(missing_ok=True)
    yield waiting, True
