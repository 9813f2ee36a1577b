"""Benchmarks: ratios of prov to other tools, measured alternately in one run.

    python -m tests.bench [help] [plan] [capture] [world] [sysroot] [history] [sharing]
                          [--source DIR] [--dev-packages DIR] [--history-store DIR]

The source tree is Linux, from Debian's package linux-source-6.1; without --source, the package's
tarball is unpacked. The sysroot's packages are from Debian; without --dev-packages,
get-dev-packages fetches them once. The store for `history` is generated, which takes two minutes,
unless you name one by --history-store. Each figure is the median of three rounds, or five for
`sysroot`. Compare the ratios, since absolute times vary between runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.history import bench_history
from tests.bench.measure import row, timed
from tests.bench.sharing import bench_sharing
from tests.bench.sysroot import bench_sysroot

ROUNDS = 3
TARBALL = Path("/usr/src/linux-source-6.1.tar.xz")
PROV = str(Path(sys.executable).with_name("prov"))
MEASURE = """
import resource, sys, time
from pathlib import Path
from prov.store.repository import Store
from prov.worktree.snapshot import capture, remember
store, directory = Store.create(Path(sys.argv[1])), Path(sys.argv[2])
begun = time.perf_counter()
with store.objects.writer() as writer:
    snapshot = capture(store, directory, writer, memory=store.cache / "memory")
remember(snapshot, store.cache / "memory")
seconds = time.perf_counter() - begun
processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
peak = max(resource.getrusage(group).ru_maxrss for group in processes)
print(seconds, peak / 1024)
"""


def captured(store: Path, source: Path) -> tuple[float, float, float]:
    """Return the seconds of a capture and of the whole process, and its peak memory in MB.

    The peak is that of the largest process.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, store, source], check=True, capture_output=True, text=True
    )
    seconds, peak = map(float, done.stdout.split())
    return seconds, time.perf_counter() - begun, peak


def bench_capture(source: Path, scratch: Path) -> None:
    times: dict[str, list[float]] = {}

    def add(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    git = [
        "git",
        "-c",
        "core.compression=1",
        f"--git-dir={scratch / 'git'}",
        f"--work-tree={source}",
    ]
    for _ in range(ROUNDS):
        for name in ("git", "store"):
            shutil.rmtree(scratch / name, ignore_errors=True)
        subprocess.run(["git", "init", "--quiet", "--bare", scratch / "git"], check=True)
        first, _, peak = captured(scratch / "store", source)
        add("first", first)
        add("peak", peak)
        add(
            "git first",
            timed(*git, "add", "-A", "--force", cwd=source) + timed(*git, "write-tree", cwd=source),
        )
        time.sleep(1)
        captured(scratch / "store", source)
        timed(*git, "add", "-A", "--force", cwd=source)
        again, whole, _ = captured(scratch / "store", source)
        add("again", again)
        add("again whole", whole)
        add("git again", timed(*git, "add", "-A", "--force", cwd=source))
        add("zstd -8", timed(shell=f"tar -C {source} -c . | zstd -q -8 -T2 -f -o {scratch}/x.zst"))
        add("zstd -3", timed(shell=f"tar -C {source} -c . | zstd -q -3 -T2 -f -o {scratch}/x.zst"))
    middle = {name: statistics.median(values) for name, values in times.items()}
    row("first capture / git add -A && git write-tree", middle["first"], middle["git first"], 0.20)
    row("first capture / tar | zstd -8 -T2", middle["first"], middle["zstd -8"], 0.5)
    row("first capture / tar | zstd -3 -T2", middle["first"], middle["zstd -3"], 1.0)
    row(
        "capture again, nothing changed / git add -A, warm",
        middle["again"],
        middle["git again"],
        2.0,
    )
    print(f"{'  (the same with the start of Python)':52} {middle['again whole']:8.3f} s")
    print(f"{'peak memory of a capture':52} {middle['peak']:8.0f} MB  (wanted: under 200)")


def bench_plan(scratch: Path) -> None:
    """Plan a no-op graph of 10,000 tasks: 1,000 recipes of ten tasks each."""
    project = scratch / "plan"
    write_wide_project(project, 1000)
    subprocess.run(
        [PROV, "build", "--sandbox", "none", "world"], cwd=project, check=True, capture_output=True
    )
    subprocess.run([PROV, "plan", "world"], cwd=project, check=True, capture_output=True)
    times = [timed(PROV, "plan", "world", cwd=project) for _ in range(ROUNDS)]
    print(
        f"{'prov plan, 10,000 tasks, nothing to do':52} {statistics.median(times):8.3f} s  (wanted:"
        " under 1.5)"
    )


def write_wide_project(project: Path, recipes: int) -> None:
    (project / "recipes").mkdir(parents=True)
    (project / "prov.toml").write_text('sandbox = "none"\n[variables]\nHOSTTOOLS = "sh cp"\n')
    for number in range(recipes):
        tasks, before = [], ""
        for step in range(9):
            after = f'after = ["t{step - 1}"]\n' if step else ""
            tasks.append(f"[tasks.t{step}]\n{after}script = 'echo $VALUE > f{step}'\n")
        needs = f'needs = ["r{number - 1:04}:give"]\n' if number % 10 else ""
        tasks.append(
            f'[tasks.give]\nafter = ["t8"]\n{needs}outputdir = "give"\nscript = "cp f8'
            f' give/r{number}"\n'
        )
        text = (
            f'version = "1"\nbuild = ["give"]\n[variables]\nVALUE = "{number}"\n'
            + "".join(tasks)
            + before
        )
        (project / "recipes" / f"r{number:04}.toml").write_text(text)


def bench_world(scratch: Path) -> None:
    """Build fixtures/world from scratch; prov's own time is the time outside the tasks' scripts."""
    world = Path(__file__).parents[2] / "fixtures" / "world"
    shutil.copytree(world, scratch / "world", ignore=shutil.ignore_patterns(".prov", "build"))
    subprocess.run(["fixtures/world/get-sources"], cwd=world.parents[1], check=True)
    shutil.copytree(world / "downloads", scratch / "world" / "downloads", dirs_exist_ok=True)
    seconds = timed(PROV, "build", "world", cwd=scratch / "world")
    show = ["git", f"--git-dir={scratch / 'world' / '.prov'}", "show", "builds:build"]
    text = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(" ", 1) for line in text.splitlines())
    own, scripts = float(facts["own-seconds"]), float(facts["script-seconds"])
    print(
        f"{'world from nothing':52} {seconds:8.1f} s, scripts {scripts:.1f} s, prov in workers"
        f" {own:.1f} s"
    )
    print(
        f"{'  share of the workers that is prov':52} {own / (own + scripts):8.1%}  (wanted: under"
        " 5 %)"
    )
    before = seconds - float(facts["seconds"])
    print(f"{'  recipes, plan, first capture of the toolchain':52} {before:8.1f} s, once on a host")
    again = [timed(PROV, "build", "world", cwd=scratch / "world") for _ in range(ROUNDS)]
    print(f"{'world again, nothing to do':52} {statistics.median(again):8.3f} s  (wanted: under 2)")


def bench_help(_scratch: Path) -> None:
    times = [timed(PROV, "--help") for _ in range(7)]
    print(f"{'prov --help':52} {statistics.median(times):8.3f} s  (wanted: under 0.2)")


def linux_source(scratch: Path) -> Path:
    if not TARBALL.exists():
        sys.exit(f"{TARBALL} is missing; apt-get install linux-source-6.1, or give --source")
    subprocess.run(["tar", "-C", scratch, "-xf", TARBALL], check=True)
    return scratch / TARBALL.name.removesuffix(".tar.xz")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("what", nargs="*", default=["help", "plan", "capture", "world"])
    parser.add_argument("--source", type=Path)
    parser.add_argument("--dev-packages", type=Path)
    parser.add_argument("--history-store", type=Path)
    options = parser.parse_args()
    benches: dict[str, Callable[[Path], None]] = {
        "help": bench_help,
        "plan": bench_plan,
        "world": bench_world,
        "sysroot": lambda scratch: bench_sysroot(options.dev_packages, scratch),
        "sharing": bench_sharing,
        "history": lambda scratch: bench_history(options.history_store, scratch),
    }
    with tempfile.TemporaryDirectory(prefix="prov-bench-") as name:
        scratch = Path(name)
        print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
        for what in options.what:
            if what == "capture":
                bench_capture(options.source or linux_source(scratch), scratch)
            else:
                benches[what](scratch)


if __name__ == "__main__":
    main()
