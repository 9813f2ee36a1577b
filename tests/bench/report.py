"""Print results, write them as JSON, and compare them with an earlier run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.measure import Timing
from tests.bench.rows import CALIBRATION, Result

FORMAT = 1
WORSE = 1.2
"""A ratio worse by more than this factor than that of the earlier run is a failure."""


def lines(result: Result) -> list[str]:
    """Return a result as lines of text."""
    row = result.row
    wanted = []
    if row.at_most:
        wanted.append(f"at most {row.at_most} x {row.peers[0].name}")
    if row.seconds:
        wanted.append(f"at most {row.seconds} s")
    verdict = "met" if result.met else "MISSED"
    head = f"{row.name}  (wanted: {', '.join(wanted)}: {verdict})" if wanted else row.name
    return [
        head,
        _line(result.ours),
        *(f"{_line(peer)}  ratio {result.ours.wall / peer.wall:.2f}" for peer in result.peers),
    ]


def _line(timing: Timing) -> str:
    return (
        f"  {timing.name:44} {timing.wall:8.3f} s wall {timing.processor:8.3f} s processor"
        f" {timing.peak:6.0f} MB"
    )


def as_table(results: Sequence[Result]) -> dict[str, Any]:
    """Return all results as JSON."""
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(
        head, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return {
        "format": FORMAT,
        "commit": commit.stdout.strip(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "rows": {result.row.name: _row(result) for result in results},
    }


def _row(result: Result) -> dict[str, Any]:
    return {
        "ratio": round(result.ratio, 3),
        "met": result.met,
        "at_most": result.row.at_most,
        "seconds": result.row.seconds,
        "ours": _timing(result.ours),
        "peers": [_timing(peer) for peer in result.peers],
    }


def _timing(timing: Timing) -> dict[str, Any]:
    return {
        "name": timing.name,
        "wall": [round(sample.wall, 4) for sample in timing.samples],
        "processor": [round(sample.processor, 4) for sample in timing.samples],
        "peak_mb": round(timing.peak, 1),
    }


def worse_rows(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Return a line for each row that has a ratio worse by a fifth than before."""
    found = []
    for name, row in now["rows"].items():
        earlier = before.get("rows", {}).get(name)
        if earlier and row["ratio"] > WORSE * earlier["ratio"]:
            found.append(f"{name}: ratio {earlier['ratio']:.2f} -> {row['ratio']:.2f}")
    return found


def last_file(folder: Path) -> Path | None:
    """Return the newest file of results in a folder."""
    return max(folder.glob("*.json"), default=None)


def read(path: Path) -> dict[str, Any]:
    """Return the results in a file, without rows if it has another format."""
    table: dict[str, Any] = json.loads(path.read_text())
    return table if table.get("format") == FORMAT else {}


def write(path: Path, table: dict[str, Any]) -> None:
    """Write results to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=1) + "\n")


def markdown(table: dict[str, Any]) -> str:
    """Return results as a table for the documentation: medians in seconds, and ratios."""
    rows = ["| command | prov | processor | other tools | wanted |", "|---|---|---|---|---|"]
    for name, row in table["rows"].items():
        ours = row["ours"]
        wall, processor = _median(ours["wall"]), _median(ours["processor"])
        peers = "; ".join(
            f"{peer['name']} {_median(peer['wall'])} s ({_quotient(ours, peer)} x)"
            for peer in row["peers"]
            if peer["name"] != CALIBRATION.name
        )
        ratio = f"{row['at_most']:g} x" if row["at_most"] else ""
        seconds = f"{row['seconds']:g} s" if row["seconds"] else ""
        wanted = ", ".join(filter(None, (ratio, seconds))) or "–"
        cells = (name, f"{wall} s", f"{processor} s", peers.replace("|", "\\|") or "–", wanted)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}"


def _quotient(ours: dict[str, Any], peer: dict[str, Any]) -> str:
    return f"{statistics.median(ours['wall']) / statistics.median(peer['wall']):.2f}"


if __name__ == "__main__":
    print(markdown(read(Path(sys.argv[1]))))
