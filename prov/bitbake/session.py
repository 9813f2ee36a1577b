"""One build, from the start of the writer to the record of the build and its publication."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from prov.bitbake.build_record import TaskRun, key_of_line, record, recover
from prov.bitbake.capture import Packed
from prov.bitbake.connection import listen
from prov.bitbake.equivalence import lines_of, record_lines
from prov.bitbake.messages import BuildDone, WriterWord
from prov.bitbake.service import Service
from prov.bitbake.shared_state import remotes_of
from prov.bitbake.writer import Writer
from prov.errors import ProvError
from prov.files import try_locked
from prov.records.ids import StaticKey
from prov.records.keys import TaskKey
from prov.sharing.pushing import publishing
from prov.sharing.results import Shareable
from prov.store.git import git_program
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.transport.access import Access
from prov.upkeep.background import start_upkeep


def run(store: Path, path: Path, server: tuple[int, int], environment: Mapping[str, str]) -> None:
    """Record a build until the server closes its pipe. Listen at the socket `path`.

    `server` holds two file descriptors: to read the server's messages, and to write to it. Raises
    ProvError if another writer runs at the same path.
    """
    to_read, to_write = server

    def say(word: WriterWord) -> None:
        with contextlib.suppress(OSError):  # the server has exited
            os.write(to_write, json.dumps(word).encode() + b"\n")

    # with an inherited, ignored SIGCHLD, exit statuses of forks are lost
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with _alone_at(path):
        git_program()  # check git's version once, not in each fork
        writer = Writer(Service(store, environment), say)
        listening = listen(path)
        say({"ready": os.getpid()})
        try:
            outcome = writer.serve(listening, to_read)
        finally:
            path.unlink(missing_ok=True)
            listening.close()
        build = _finish(writer, outcome)
        say({"recorded": build.hex() if build else ""})
        if writer.retained is not None:
            writer.retained.objects.release()
        if writer.ran:
            start_upkeep(writer.store(), None)


@contextlib.contextmanager
def _alone_at(path: Path) -> Iterator[None]:
    with try_locked(path.with_name(path.name + ".lock")) as is_alone:
        if not is_alone:
            raise ProvError(
                f"another writer is already running at {path}",
                hint="wait until the previous build has ended",
            )
        yield


def _finish(writer: Writer, outcome: BuildDone | None) -> Oid | None:
    """Record the build, unless no task ran, as in a dry run. Return its commit, if recorded."""
    if not writer.ran and (outcome is None or not writer.service.store_path.is_dir()):
        return None
    if outcome is None:
        outcome = _interrupted(writer.ran[0].began)
    store = writer.store()
    writer.ran += recover(store, missing_of(writer, outcome), outcome["began"])
    if not writer.ran:
        return None
    for key in missing_of(writer, outcome):
        writer.lose(key, "the task's process sent no report")
    build = record(store, writer.ran, outcome, writer.lost)
    _publish(
        store,
        writer.ran,
        writer.packed,
        writer.service.environment,
        lambda text: writer.say({"note": text}),
        network=outcome.get("network", False),
    )
    return build


def _interrupted(began: float) -> BuildDone:
    """Return the end message for a build whose server exited without one."""
    return {
        "what": "done",
        "targets": [],
        "result": "interrupted",
        "began": began,
        "skipped": [],
        "executed": [],
    }


def missing_of(writer: Writer, outcome: BuildDone) -> dict[TaskKey, str]:
    """Return task -> BitBake's task hash, of ended tasks whose processes sent no report."""
    reported = {run.key for run in writer.ran} | writer.lost.keys()
    executed = {key_of_line(line): line.taskhash for line in outcome["executed"]}
    return {key: task_hash for key, task_hash in sorted(executed.items()) if key not in reported}


def _publish(
    store: Store,
    ran: Sequence[TaskRun],
    packed: Mapping[str, Packed],
    environment: Mapping[str, str],
    note: Callable[[str], None],
    *,
    network: bool,
) -> None:
    """Publish the objects of shared state that a build made or restored, in the background.

    Without `network`, only remotes in local folders are used.
    """
    results = [
        Shareable(run.key, run.captured.task_hash, StaticKey(packed[run.key].key))
        for run in ran
        if run.key in packed and not run.failed
    ]
    lines = lines_of(ran)
    if lines:
        results.append(record_lines(store, lines))
    if not results:
        return
    with publishing(
        store, remotes_of(store, network=network), Access(environment), note
    ) as publishers:
        for publisher in publishers:
            publisher.whole = results
