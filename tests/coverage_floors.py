"""Coverage of each package, and the floors that it must keep.

    coverage run -m pytest …; coverage combine
    python -m tests.coverage_floors            print the measured coverage as a table
    python -m tests.coverage_floors --check    exit 1 if a package is below its floor

The floors are for `make floors`, which runs the tests that start no process. When you improve a
package's coverage, raise its floor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage

from tests.counts.module import Module

TOP = Path(__file__).parents[1]
FLOORS = {
    "cli": 46,
    "prov": 65,
    "prov.bisect": 64,
    "prov.bitbake": 43,
    "prov.buildroot": 40,
    "prov.forget": 32,
    "prov.dependencies": 60,
    "prov.fsck": 46,
    "prov.history": 50,
    "prov.intake": 78,
    "prov.query": 85,
    "prov.reads": 80,
    "prov.recipes": 97,
    "prov.records": 92,
    "prov.remote": 58,
    "prov.replay": 35,
    "prov.report": 70,
    "prov.sbom": 50,
    "prov.scheduler": 69,
    "prov.claims": 50,
    "prov.farm": 30,
    "prov.reapi": 30,
    "prov.sharing": 64,
    "prov.statements": 83,
    "prov.store": 78,
    "prov.sysroot": 86,
    "prov.tasks": 75,
    "prov.transport": 66,
    "prov.upkeep": 55,
    "prov.doctor": 70,
    "prov.worktree": 89,
    "prov.wrapped": 45,
}
"""The minimum percentage of each package's lines that the tests of `make quick` cover."""


@dataclass
class Lines:
    """The lines of a package's code."""

    all: int = 0
    covered: int = 0

    @property
    def percent(self) -> float:
        return 100 * self.covered / max(self.all, 1)


def measured(files: dict[str, dict[str, dict[str, int]]]) -> dict[str, Lines]:
    """Return each package's lines, from the files in coverage's JSON report."""
    packages: dict[str, Lines] = {}
    for name, report in sorted(files.items()):
        module = Module(TOP, (TOP / name).resolve())
        if module.is_program:
            continue
        lines = packages.setdefault(module.package, Lines())
        lines.all += report["summary"]["num_statements"]
        lines.covered += report["summary"]["covered_lines"]
    return packages


def read_report() -> dict[str, dict[str, dict[str, int]]]:
    """Return the files in coverage's JSON report of the last run."""
    coverage = Coverage(messages=False)
    coverage.load()
    with tempfile.NamedTemporaryFile(suffix=".json") as stream:
        coverage.json_report(outfile=stream.name)
        files: dict[str, dict[str, dict[str, int]]] = json.load(stream)["files"]
    return files


def below(packages: dict[str, Lines]) -> list[str]:
    """Return a line for each package that is below its floor."""
    covered = {name: packages.get(name, Lines()).percent for name in FLOORS}
    return [
        f"{name}: {covered[name]:.1f}% of the lines are covered, at least {floor}%"
        for name, floor in FLOORS.items()
        if covered[name] < floor
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    packages = measured(read_report())
    print(f"{'package':18} lines  covered  floor")
    for name, lines in packages.items():
        print(f"{name:18} {lines.all:5} {lines.percent:7.1f}% {FLOORS.get(name, 0):5}%")
    problems = below(packages) if options.check else []
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
