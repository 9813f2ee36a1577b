"""Publish results of a store: at once, or in the background during a build.

The build sends each new result to a background process and never waits for it, not even at the end.
The process publishes the remaining results after the build; the next build reports the outcome.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.claims.keeper import KeeperPipes
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
from prov.sharing.results import Shareable, add_digests, holds, offer
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import few
from prov.transport.access import Access

QUIET = 5.0
"""Seconds without a new result after which the pending results are published."""
QUIET_CLAIMED = 0.1
"""As QUIET, for a remote at which other builds may wait for the results."""
ENOUGH = 200
"""Number of pending results after which they are published, even if more arrive."""
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
    """Publish results that a remote lacks. Raises ProvError, for example Unreachable.

    `used` are task hashes of reused results; `workdirs` also publishes WORKDIRs.
    """
    opened = open_git_remote(remote, store, access)
    opened.refresh()
    new = [result for result in results if workdirs or not _published(store, opened, result)]
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
    """The outcome of an export."""

    count: int
    """Number of written results."""
    known: int
    """Number of results that the folder already had."""
    size: int
    """Number of bytes written."""
    withheld: Mapping[str, str]
    """Task -> why its result is not shared."""


def export_results(
    store: Store, folder: Path, results: Sequence[Shareable], *, key: str
) -> Exported:
    """Write results that a static cache in a folder lacks."""
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
    folders = exported_folders(store)
    if folder not in folders:
        data = b"".join(os.fsencode(path) + b"\0" for path in (*folders, folder))
        replace_file(_exports(store), data)


def exported_folders(store: Store) -> list[Path]:
    """Return the folders that this store has exported to."""
    try:
        paths = _exports(store).read_bytes().split(b"\0")
    except FileNotFoundError:
        return []
    return [Path(os.fsdecode(path)) for path in paths if path]


def reasons(withheld: Mapping[str, str]) -> list[str]:
    """Return a line for each reason in `withheld`, with its tasks."""
    tasks: dict[str, list[str]] = {}
    for key, why in withheld.items():
        tasks.setdefault(why, []).append(key)
    return [f"{few(keys)}: {why}" for why, keys in tasks.items()]


def _published(store: Store, remote: AnyRemote, result: Shareable) -> bool:
    outputs = {published.output for published in remote.index.find(result.task_hash)}
    commit = store.refs.get(str(OutputRef(result.key, result.task_hash))) if outputs else None
    return commit is not None and store.objects.commit(commit).tree in outputs


@dataclass(slots=True)
class Publisher:
    """A background process that publishes results to one remote."""

    store: Store
    remote: Remote
    pipe: int
    whole: list[Shareable] = field(default_factory=list)
    """All results of the build, sent at its end."""

    @staticmethod
    def start(
        store: Store,
        remote: Remote,
        access: Access,
        keeper: KeeperPipes | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> Publisher:
        """Start the process. It calls `prepare` first.

        It reports what it has published to the keeper of claims at the same remote.
        """
        reader, writer = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        os.set_blocking(writer, False)
        replace_file(status_file(store, remote.name), b"running\n", durable=False)

        def serve() -> None:
            prepare()
            # an end of these pipes here would hide the end of the build
            os.close(writer)
            own = _publishers_end(keeper, remote)
            _serve(store, remote, access, reader, own)

        start_detached(serve)
        os.close(reader)
        return Publisher(store, remote, writer)

    def offer(self, key: TaskKey, task_hash: TaskHash, static_key: StaticKey) -> None:
        """Send a result to the process. If the pipe is full, `close` sends the result."""
        self._send(f"result {key} {task_hash.hex()} {static_key.hex()}\n")

    def _send(self, line: str) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self.pipe, line.encode())

    def close(self) -> str:
        """Send all results of the build to the process; return its error so far, or ""."""
        path = status_file(self.store, self.remote.name).with_name(
            f"rest-{os.getpid()}-{self.pipe}"
        )
        with contextlib.suppress(OSError):
            replace_file(path, "".join(map(_line, self.whole)).encode(), durable=False)
            self._send(f"rest {path.name}\n")
        os.close(self.pipe)
        return last_problem(self.store, self.remote.name)


@contextlib.contextmanager
def publishing(
    store: Store,
    remotes: Iterable[Remote],
    access: Access,
    note: Callable[[str], None],
    keeper: KeeperPipes | None = None,
) -> Iterator[list[Publisher]]:
    """Yield a background publisher for each remote that builds publish to.

    Calls `note` with errors and warnings of the last push and of this one. `keeper` keeps the
    claims at its remote.
    """
    chosen = [remote for remote in remotes if remote.push]
    for remote in chosen:
        problem = last_problem(store, remote.name)
        if problem:
            note(f"the last push to {remote.name} failed: {problem}")
        for warning in last_warnings(store, remote.name):
            note(warning)
    publishers = [Publisher.start(store, remote, access, keeper) for remote in chosen]
    if keeper is not None:
        keeper.close_published()
    try:
        yield publishers
    finally:
        for publisher in publishers:
            problem = publisher.close()
            if problem:
                note(f"cannot publish to {publisher.remote.name}: {problem}")


def _publishers_end(keeper: KeeperPipes | None, remote: Remote) -> KeeperPipes | None:
    """Close the ends of a keeper's pipes that a remote's publisher does not use.

    Returns the pipes, or None if the keeper has a different remote.
    """
    if keeper is None:
        return None
    keeper.close()
    if keeper.remote == remote.name:
        return keeper
    keeper.close_published()
    return None


def _line(result: Shareable) -> str:
    return f"{result.key} {result.task_hash.hex()} {result.static_key.hex()}\n"


def _parse(words: Sequence[str]) -> Shareable:
    key, task_hash, static_key = words
    return Shareable(
        TaskKey(key), TaskHash(bytes.fromhex(task_hash)), StaticKey(bytes.fromhex(static_key))
    )


def status_file(store: Store, name: str) -> Path:
    """Return the file with the outcome of the last background push."""
    folder = store.cache / "remotes" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "last-push"


def last_problem(store: Store, name: str) -> str:
    """Return the error of the last background push, or ""."""
    try:
        text = status_file(store, name).read_text()
    except FileNotFoundError:
        return ""
    return text.removeprefix("failed ").strip() if text.startswith("failed ") else ""


def last_warnings(store: Store, name: str) -> list[str]:
    """Return the warnings of the last background push."""
    try:
        lines = status_file(store, name).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line.removeprefix("warning ") for line in lines if line.startswith("warning ")]


def _serve(
    store: Store, remote: Remote, access: Access, pipe: int, keeper: KeeperPipes | None
) -> None:
    """Publish the results that arrive through the pipe until it is closed."""
    quiet = QUIET if keeper is None else QUIET_CLAIMED
    status, count = status_file(store, remote.name), 0
    warnings: list[str] = []
    try:
        for results, last in _batches(pipe, status.parent, quiet):
            used = [result.task_hash for result in results] if last else ()
            outcome = push(store, remote, access, results, used=used, workdirs=remote.workdirs)
            count += len(outcome.published)
            warnings += outcome.notes
            if keeper is not None:
                # BitBake's objects are claimed by their static keys
                keeper.drop(name for each in results for name in (each.task_hash, each.static_key))
        text = f"ok {count}\n" + "".join(f"warning {warning}\n" for warning in warnings)
        replace_file(status, text.encode(), durable=False)
    except (ProvError, OSError) as error:
        replace_file(status, f"failed {error}\n".encode(), durable=False)


def _batches(pipe: int, folder: Path, quiet: float) -> Iterable[tuple[list[Shareable], bool]]:
    """Yield batches of results to publish; the last batch, marked True, has all results.

    A batch ends after `quiet` seconds without a new result.
    """
    text, rest = b"", folder / "none"
    waiting: list[Shareable] = []
    while True:
        ready, _, _ = select.select([pipe], [], [], quiet if waiting else None)
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
