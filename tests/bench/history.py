"""Time history commands on a store with 100,000 task commits, each in a new process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.fsck.generated_store import make_store

RUNS = 100_000
ROUNDS = 5
PROV = str(Path(sys.executable).with_name("prov"))
WANTED = 0.5
QUESTIONS = (
    ("why", "part03:compile"),
    ("why", "image:image"),
    ("diff", "part03:install"),
    ("diff", "latest"),
    ("blame", "usr/bin/part03"),
    ("log", "part03"),
    ("builds",),
)
DROP = Path("/proc/sys/vm/drop_caches")


def bench_history(given: Path | None, scratch: Path) -> None:
    """Run the commands with a warm page cache and, as root, with a cold one."""
    store, small = given or scratch / "history", scratch / "small"
    if given is None:
        make_store(store, runs=RUNS)
    make_store(small, runs=60)
    for words in (*QUESTIONS, ("report", "-o", str(scratch / "report.html"))):
        command = (PROV, *words, "--store", str(store))
        warm = statistics.median(_timed(command) for _ in range(ROUNDS))
        text = ""
        if os.access(DROP, os.W_OK):
            cold = statistics.median(
                _after_dropping(command, (*command[:-1], str(small))) for _ in range(ROUNDS)
            )
            text = f", store from disk {cold:.3f} s"
        print(f"{'prov ' + ' '.join(words[:2]):52} {warm:8.3f} s{text}  (wanted: under {WANTED})")


def _after_dropping(command: tuple[str, ...], same_of_small: tuple[str, ...]) -> float:
    os.sync()
    DROP.write_text("3")
    subprocess.run(
        same_of_small, capture_output=True, check=False
    )  # do not measure loading prov's own code
    return _timed(command)


def _timed(command: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun
