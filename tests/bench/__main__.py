"""Time whole commands of prov in turns with other tools: python -m tests.bench [TOPIC…].

The data (sources, packages, stores) and the results are in build/bench; all topics need 20 GB. The
results are JSON files. They are compared with those of the last run: the exit status is 1 if a
ratio is worse by a fifth. Wall times depend on the machine, so compare the ratios. Do nothing else
on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.bench.builds import build_rows
from tests.bench.history import history_rows
from tests.bench.remotes import remote_rows
from tests.bench.report import as_table, last_file, lines, read, worse_rows
from tests.bench.report import write as write_results
from tests.bench.rows import Result, Rows, time_row
from tests.bench.start import start_rows
from tests.bench.sysroots import sysroot_rows
from tests.bench.trees import tree_rows

DATA = Path(__file__).parents[2] / "build" / "bench"
TOPICS: dict[str, Rows] = {
    "start": start_rows,
    "tree": tree_rows,
    "sysroot": sysroot_rows,
    "build": build_rows,
    "history": history_rows,
    "remote": remote_rows,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--only", default="", help="time only rows whose names contain this")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder for data and results")
    parser.add_argument("--rounds", type=int, default=0, help="time each command N times")
    parser.add_argument("--against", type=Path, help="compare with the results in this file")
    options = parser.parse_args()
    data = options.data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for topic in options.topics or TOPICS:
        for row in TOPICS[topic](data):
            if options.only not in row.name:
                continue
            if options.rounds:
                row = replace(row, rounds=options.rounds)
            results.append(time_row(row))
            print("\n".join(lines(results[-1])), flush=True)
    table = as_table(results)
    before = options.against or last_file(data / "results")
    write_results(data / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json", table)
    worse = worse_rows(table, read(before)) if before else []
    for line in worse:
        print(f"worse than in {before}: {line}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
