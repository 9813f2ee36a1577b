"""Findings about dependencies, from lists of reads alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from prov.dependencies.findings import (
    Certainty,
    RecordedReads,
    Runs,
    find_floating,
    find_transitive,
    find_unused,
    traced_lookups,
)
from prov.dependencies.usage import Item, NeededPackage, Places
from prov.reads.reads import (
    COMPLETE,
    NOT_RECORDED,
    Read,
    Reads,
    incomplete,
    incomplete_outside_sysroots,
)
from prov.records.keys import TaskKey

TOP = "/build/sysroot"
COMPILE, INSTALL = TaskKey("hello:compile"), TaskKey("hello:install")
PLACES = Places((TOP,), ("/build/sysroot-native",), is_sandboxed=True)
OVERFLOW = incomplete("overflow")
OUTSIDE = incomplete_outside_sysroots("ran at the same time as hello:check")
DOUBT = incomplete("the command uses /proc/cpuinfo")


def package(name: str) -> NeededPackage:
    """Return a package with a file of its name in usr/lib."""
    items = {"usr": Item(is_folder=True), "usr/lib": Item(is_folder=True)}
    return NeededPackage(TaskKey(f"{name}:install"), (TOP,), {**items, f"usr/lib/{name}": Item()})


def run(
    key: TaskKey = COMPILE,
    rows: Mapping[str, str] | None = None,
    opens: str = COMPLETE,
    probes: str = COMPLETE,
    toolchain: str = COMPLETE,
    names: str = "a b",
    tools: Mapping[str, str] | None = None,
    programs: tuple[str, ...] = (),
    isolated: bool = True,
) -> RecordedReads:
    reads = [Read(path, kinds, "", programs) for path, kinds in (rows or {}).items()]
    packages = tuple(map(package, names.split()))
    listed = Reads.of(reads, opens, probes, toolchain)
    return RecordedReads(key, listed, packages, tools or {}, PLACES, isolated)


A, B = f"{TOP}/usr/lib/a", f"{TOP}/usr/lib/b"
DECLARED = [TaskKey("a:install"), TaskKey("b:install")]


@pytest.mark.parametrize(
    ("runs", "unused", "unknown"),
    [
        ({COMPILE: [run(rows={A: "o"})]}, {"b": "traced"}, 0),
        ({COMPILE: [run(rows={A: "s"})]}, {"b": "traced"}, 0),
        ({COMPILE: [run(rows={A: "x", B: "s"})]}, {}, 0),
        # lookups that failed are not uses
        ({COMPILE: [run(rows={f"{TOP}/usr/lib/c": "m"})]}, {"a": "traced", "b": "traced"}, 0),
        # without probes, only candidates
        (
            {COMPILE: [run(rows={A: "o"}, probes=NOT_RECORDED)]},
            {"b": "candidate"},
            0,
        ),
        # the toolchain does not matter
        ({COMPILE: [run(rows={A: "o"}, toolchain=NOT_RECORDED)]}, {"b": "traced"}, 0),
        # an influence that is not a path, such as /proc, or a process at the end of a socket
        ({COMPILE: [run(rows={A: "o"}, probes=DOUBT)]}, {"b": "traced"}, 0),
        ({COMPILE: [run(rows={A: "o"}, probes=DOUBT, isolated=False)]}, {"b": "candidate"}, 0),
        # a listed folder has the file's name
        ({COMPILE: [run(rows={A: "o", f"{TOP}/usr/lib": "d"})]}, {"b": "candidate"}, 0),
        # an incomplete list that contains all opens in the sysroots
        (
            {COMPILE: [run(rows={A: "*o"}, opens=OUTSIDE, probes=NOT_RECORDED)]},
            {"b": "candidate"},
            0,
        ),
        # after an overflow nothing is named
        ({COMPILE: [run(opens=OVERFLOW, probes=OVERFLOW)]}, {}, 1),
        ({COMPILE: [RecordedReads(COMPILE, None, (package("a"),))]}, {}, 1),
        # an earlier complete run counts, and uses in incomplete ones do
        (
            {COMPILE: [run(rows={A: "o"}, opens=OVERFLOW, probes=OVERFLOW), run()]},
            {"b": "traced"},
            0,
        ),
        # every task with the package counts
        (
            {COMPILE: [run(rows={A: "o"})], INSTALL: [run(INSTALL, rows={B: "o"})]},
            {},
            0,
        ),
        ({COMPILE: [run(rows={A: "o"})], INSTALL: [run(INSTALL, opens=OVERFLOW)]}, {}, 1),
        ({COMPILE: [run(rows={A: "o"})], INSTALL: [run(INSTALL, names="")]}, {"b": "traced"}, 0),
        ({COMPILE: []}, {}, 0),
    ],
)
def test_unused(runs: Runs, unused: dict[str, str], unknown: int) -> None:
    found, gaps = find_unused("hello", DECLARED, runs)
    assert {own.package.recipe: str(own.certainty) for own in found} == unused
    assert len(gaps) == unknown
    if gaps:
        assert gaps[0].reason


def test_the_number_of_traces_is_required() -> None:
    runs = {COMPILE: [run(rows={A: "o"}), run(probes=NOT_RECORDED)]}
    found, _ = find_unused("hello", DECLARED, runs, minimum=2)
    assert [(own.certainty, own.reason) for own in found] == [
        (Certainty.CANDIDATE, "1 of 2 complete traces of hello:compile are recorded")
    ]


def test_a_package_in_an_unknown_place_is_never_named() -> None:
    hidden = NeededPackage(TaskKey("a:install"), (), {"usr/lib/a": Item()})
    own = RecordedReads(COMPILE, Reads((), COMPLETE, COMPLETE), (hidden,))
    assert find_unused("hello", DECLARED, {COMPILE: [own]}) == ([], [])


def test_the_reason_of_an_incomplete_trace_is_shown() -> None:
    runs = {COMPILE: [run(probes=DOUBT, isolated=False)]}
    found, _ = find_unused("hello", DECLARED[:1], runs)
    assert found[0].reason == (
        "0 of 1 complete traces of hello:compile are recorded"
        " (the last one is incomplete: the command uses /proc/cpuinfo)"
    )


CHAINS = {"a": ("hello depends on a",), "b": ("hello depends on a", "which needs b at run time")}


@pytest.mark.parametrize(
    ("programs", "names"),
    [((), ["b"]), (("/usr/bin/ld",), ["b"]), ((A,), []), ((A, "/usr/bin/ld"), ["b"])],
)
def test_transitive(programs: tuple[str, ...], names: list[str]) -> None:
    runs = {COMPILE: [run(rows={A: "o", B: "o"}, programs=programs)]}
    found = find_transitive("hello", CHAINS, {"b": frozenset("a")}, runs)
    assert [own.package.recipe for own in found] == names
    for own in found:
        assert own.evidence == (f"hello:compile opened {B}",)
        assert own.chain == CHAINS["b"]


@pytest.mark.parametrize(
    ("kinds", "bin_opened", "probes", "names"),
    [
        ("o", False, NOT_RECORDED, ["b"]),
        # a different task may have opened it
        ("*o", False, NOT_RECORDED, []),
        # a program of the package that needs it may have opened it
        ("o", True, NOT_RECORDED, []),
        # the list names the programs that opened each path: it was none of them
        ("o", True, COMPLETE, ["b"]),
    ],
)
def test_transitive_without_programs(
    kinds: str, bin_opened: bool, probes: str, names: list[str]
) -> None:
    tool = NeededPackage(TaskKey("a:install"), (TOP,), {"usr/bin/a": Item()})
    rows = [Read(B, kinds)]
    if bin_opened:
        rows.append(Read(f"{TOP}/usr/bin/a", "o"))
    own = RecordedReads(COMPILE, Reads.of(rows, COMPLETE, probes), (tool, package("b")), {}, PLACES)
    found = find_transitive("hello", CHAINS, {"b": frozenset("a")}, {COMPILE: [own]})
    assert [transitive.package.recipe for transitive in found] == names


def test_a_library_that_only_a_library_needs_is_not_transitive() -> None:
    items = {"usr/lib/libb.so.1": Item(), "usr/lib/libb.so": Item(target="libb.so.1")}
    packages = (package("a"), NeededPackage(TaskKey("b:install"), (TOP,), items))
    for path, count in ((f"{TOP}/usr/lib/libb.so.1", 0), (f"{TOP}/usr/lib/libb.so", 1)):
        reads = Reads.of([Read(path, "o")], COMPLETE, COMPLETE)
        runs = {COMPILE: [RecordedReads(COMPILE, reads, packages, {}, PLACES)]}
        assert len(find_transitive("hello", CHAINS, {}, runs)) == count


def test_floating() -> None:
    runs = {COMPILE: [run(rows={f"{TOP}/usr/lib/c": "m", "/elsewhere/usr/lib/d": "m"})]}
    lookups = traced_lookups(runs)
    provided = {"c": [(False, "usr/lib/c")], "hello": [(False, "usr/lib/c")]}
    found = find_floating("hello", lookups, provided, frozenset())
    assert [(own.provider, own.evidence, own.is_cyclic) for own in found] == [
        ("c", ("hello:compile looked for usr/lib/c",), False)
    ]
