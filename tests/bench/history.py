"""Questions to a store with 100,000 task commits, each asked by a new process."""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

from tests.bench.measure import timed
from tests.history.generated_store import make_store

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
    """Ask with the store in the page cache, and where it may be dropped from there (as root), without."""
    store = given or scratch / "history"
    if given is None:
        make_store(store, runs=RUNS)
    for words in (*QUESTIONS, ("report", "-o", str(scratch / "report.html"))):
        command = (PROV, words[0], *words[1:], "--store", str(store))
        warm = statistics.median(timed(*command) for _ in range(ROUNDS))
        cold = statistics.median(_after_dropping(command) for _ in range(ROUNDS)) if os.access(DROP, os.W_OK) else None
        text = f", from disk {cold:.3f} s" if cold is not None else ""
        print(f"{'prov ' + ' '.join(words[:2]):52} {warm:8.3f} s{text}  (wanted: under {WANTED})")


def _after_dropping(command: tuple[str, ...]) -> float:
    os.sync()
    DROP.write_text("3")
    timed(PROV, "--version")  # the interpreter is in use on any machine that builds
    return timed(*command)
