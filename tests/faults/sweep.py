"""Disturb a prov command at its writing calls, and check the invariants after each disturbance.

    sweep(machine, folder, Case(name, make_state, command, picture))

The command is killed, the disk is full or broken, or the power is cut. A `Case` defines the
command, its initial state, and how to read its result. After each disturbance:

- the store passes `git fsck --strict`;
- all refs that the command does not delete still exist;
- all results that the command reported exist;
- the command succeeded or failed with an expected error;
- the same command, run again, succeeds with the same result as an undisturbed one.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.files import purpose
from prov.userkey import DIGEST_SIZE, is_own, keyed_digest
from tests.faults.replay import VARIANTS, Deed, Disk, read_journal
from tests.faults.shim import FAULTS, KINDS, Done, Fault, Machine

GIT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    "GIT_CONFIG_NOSYSTEM": "1",
}
SEED = int(os.environ.get("FAULTS_SEED") or 1)
"""The seed for random points: constant, or FAULTS_SEED."""
_BEGUN = time.monotonic()
MOST_REPORTED = 12
"""The maximum number of failures that a sweep reports."""

Look = Callable[[Path], object]
Refs = dict[str, tuple[str, str]]
"""The object and its tree of each ref, by name."""


@dataclass(frozen=True, slots=True)
class Case:
    """A command and how to check its results."""

    name: str
    make_state: Callable[[Path], None]
    """Creates the initial state in an empty folder; called once, and copied for each point."""
    command: tuple[str, ...]
    """The arguments of the command, which runs in that folder."""
    picture: Callable[[Path], object]
    """Returns the command's result, which must not depend on earlier disturbances."""
    lasting: Callable[[Path], object] | None = None
    """Returns the results that must exist if the power is cut after the command has finished."""
    mended: Callable[[Path], object] | None = None
    """Returns the results of a rerun after a power cut."""
    already: str = "(?!)"
    """A pattern of the command's output if there is nothing left to do."""
    store: str = ".prov"
    stores: tuple[str, ...] = ()
    """Other stores below the folder to check, such as the other side of a push or pull."""
    unfulfilled: Callable[[Path, str], str] = field(default=lambda _root, _said: "")
    """Returns a missing result that the command's output has reported as done, or nothing."""


def git(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-c", "safe.directory=*", f"--git-dir={store}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=GIT, check=False)


def refs(store: Path) -> Refs:
    """Return a store's refs, or none if there is no store."""
    if not made(store):
        return {}
    said = git(store, "for-each-ref", "--format=%(refname) %(objectname) %(tree)").stdout
    rows = [line.split(" ") for line in said.splitlines()]
    return {name: (oid, tree) for name, oid, tree in rows}


def files(folder: Path, *leave_out: str) -> dict[str, str]:
    """Return the mode and content of all files by path, except in folders of some names."""
    found = {}
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in leave_out]
        for name in names:
            path = Path(top, name)
            content = os.readlink(path) if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {content!r}"
    return found


def made(store: Path) -> bool:
    """Return whether a complete store exists; its config is written last."""
    return (store / "config").exists() and "[prov]" in (store / "config").read_text()


def damage(store: Path) -> str:
    """Return the errors of `git fsck`, or nothing if there is no store."""
    if not made(store):
        return ""
    done = git(store, "fsck", "--strict", "--full", "--no-dangling", "--no-progress")
    lines = [
        line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("notice: ")
    ]
    return "\n".join(lines) or (f"git fsck ended with {done.returncode}" if done.returncode else "")


def age_locks(store: Path) -> None:
    """Make the locks of a killed git old enough to be recognized as stale."""
    past = time.time() - 120
    for pattern in ("**/*.lock", "packed-refs.new"):
        for path in store.glob(pattern):
            os.utime(path, (past, past))


def _reboot(stores: Iterable[Path], environment: Mapping[str, str]) -> None:
    """Simulate a reboot: replace the boot id in caches."""
    now = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    for store in stores:
        for path in store.glob("prov/sysroots/*.state"):
            digest, data = path.read_bytes()[:DIGEST_SIZE], path.read_bytes()[DIGEST_SIZE:]
            # a torn cache is ignored by prov
            if is_own(purpose(path) + data, digest, environment):
                data = data.replace(now, now[::-1])
                path.write_bytes((keyed_digest(purpose(path) + data, environment) or b"") + data)


@dataclass(slots=True)
class _Log:
    """A log file of passed points, to split a long run into parts.

    FAULTS_LOG names the file, and FAULTS_MINUTES limits a part. A point is valid only for a journal
    of the same length, so use a new file for a new version of the code.
    """

    case: str
    calls: int
    path: str = field(default_factory=lambda: os.environ.get("FAULTS_LOG", ""))
    passed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.path and Path(self.path).exists():
            self.passed = set(Path(self.path).read_text().splitlines())

    def _line(self, what: str, number: int) -> str:
        return f"{self.case}\t{self.calls}\t{what}\t{number}"

    def has(self, what: str, number: int) -> bool:
        return self._line(what, number) in self.passed

    def add(self, what: str, number: int) -> None:
        if self.path:
            with open(self.path, "a") as stream:
                stream.write(self._line(what, number) + "\n")


def _is_over() -> bool:
    """Return whether this part of a long run has used its time."""
    minutes = float(os.environ.get("FAULTS_MINUTES") or 0)
    return bool(minutes) and time.monotonic() - _BEGUN > 60 * minutes


@dataclass(slots=True)
class _Bench:
    """The runs of one case: its initial state, and the results of an undisturbed run."""

    machine: Machine
    folder: Path
    case: Case
    base: Path = field(init=False)
    work: Path = field(init=False)
    journal: Path = field(init=False)
    wanted: dict[Look, object] = field(default_factory=dict)
    before: list[Refs] = field(default_factory=list)
    after: list[Refs] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.base, self.work, self.journal = (
            self.folder / name for name in ("base", "work", "journal")
        )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.case.make_state(self.work)
        self.before = [refs(store) for store in self.stores()]
        self.work.rename(self.base)
        self.renew()
        done = self.run(journal=True)
        assert done.code == 0, f"{self.case.name}, undisturbed: {done.said}"
        self.wanted = {look: look(self.work) for look in self.looks()}
        self.after = [refs(store) for store in self.stores()]
        found = self.broken() or self.case.unfulfilled(self.work, done.said)
        assert not found, f"{self.case.name}, undisturbed: {found}"

    def looks(self) -> tuple[Look, Look, Look]:
        """Return how to read results: usually, after a final power cut, and after a rerun."""
        case = self.case
        return case.picture, case.lasting or case.picture, case.mended or case.picture

    def compare(self, look: Look, when: str) -> str:
        """Return how the folder differs from the result of an undisturbed run."""
        now, wanted = look(self.work), self.wanted[look]
        return "" if now == wanted else f"{when} {_difference(now, wanted)}"

    def stores(self) -> list[Path]:
        return [self.work / name for name in (self.case.store, *self.case.stores)]

    def clear(self) -> None:
        if self.work.exists():
            subprocess.run(["chmod", "-R", "u+rwx", self.work], check=True)
            shutil.rmtree(self.work)

    def renew(self) -> None:
        self.clear()
        subprocess.run(["cp", "-a", self.base, self.work], check=True)

    def run(self, fault: Fault | None = None, at: int = 0, *, journal: bool = False) -> Done:
        return self.machine.run(
            self.case.command,
            self.work,
            fault=fault,
            at=at,
            journal=self.journal if journal else None,
        )

    def broken(self) -> str:
        """Return the first fault of the stores."""
        for store, before, after in zip(self.stores(), self.before, self.after, strict=True):
            found = damage(store)
            if found:
                return f"{store.name}: {found}"
            now = refs(store)
            for name, held in before.items():
                if name in after and name not in now:
                    return f"{store.name}: {name} is missing"
                if name in after and now[name] != held and after[name] == held:
                    return f"{store.name}: {name} changed"
        return ""

    def again(self, look: Look) -> str:
        """Run the command again; return the first fault."""
        for store in self.stores():
            age_locks(store)
        done = self.run()
        if done.code and not re.search(self.case.already, done.said):
            return f"the next run exits with {done.code}: {done.said}"
        found = self.broken()
        if found:
            return f"after the next run: {found}"
        return self.compare(look, "the next run made")

    def judge(self, done: Done, *, killed: bool) -> str:
        """Return the first fault after a disturbed run."""
        if "Traceback" in done.said or done.code == 3:
            return f"a bug is reported: {done.said}"
        if not killed and done.code not in (0, 1, -9):
            return f"it exits with {done.code}: {done.said}"
        if done.code == 1 and not re.search(
            "prov: .|failed: .|remote \\S+: .+; continuing without it", done.said
        ):
            return f"no error is reported: {done.said!r}"
        if re.search(r"^(prov|failed: \S+): \[Errno \d+\] [\w /]+$", done.said, re.MULTILINE):
            return f"no file is named: {done.said!r}"
        found = self.broken() or self.case.unfulfilled(self.work, done.said)
        if found:
            return found
        wrong = self.compare(self.case.picture, "it succeeded, and made") if done.code == 0 else ""
        return wrong or self.again(self.case.picture)

    def note(self, where: str, wrong: str) -> None:
        if wrong:
            self.failures.append(f"{where}:\n{wrong}")

    def end(self, points: int, seed: int) -> int:
        if self.failures:
            raise AssertionError(
                f"{self.case.name}: {len(self.failures)} of {points} points fail (seed {seed})\n\n"
                + "\n\n".join(self.failures[:MOST_REPORTED])
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        return points


def _difference(now: object, wanted: object) -> str:
    if isinstance(now, dict) and isinstance(wanted, dict):
        keys = [key for key in {**wanted, **now} if wanted.get(key) != now.get(key)]
        return "; ".join(
            f"{key}: {now.get(key)!s:.300} and not {wanted.get(key)!s:.300}" for key in keys[:4]
        )
    return f"{now!s:.300} and not {wanted!s:.300}"


def sweep(
    machine: Machine,
    folder: Path,
    case: Case,
    *,
    faults: Iterable[Fault] = FAULTS,
    cuts: Iterable[str] = VARIANTS,
    points: int | None = None,
    seed: int = 0,
) -> int:
    """Disturb a command at every call by every fault and cut, or at random points.

    Returns the number of tested points. `folder` must not be used otherwise. Raises AssertionError
    with the first failures.
    """
    bench, chance = _Bench(machine, folder, case), random.Random(seed)
    deeds = read_journal(bench.journal)
    own = [deed for deed in deeds if (deed.path + "/").startswith(f"{bench.work}/")]
    disturbed = [
        (fault, number)
        for fault in faults
        for number, deed in enumerate(own, 1)
        if fault.kinds >> KINDS.index(deed.kind) & 1 and (not fault.torn or len(deed.data) > 1)
    ]
    cut = [(number, variant) for number in range(1, len(deeds) + 1) for variant in cuts]
    if points is not None and points < len(disturbed) + len(cut):
        part = round(points * len(cut) / (len(disturbed) + len(cut)))
        last = [
            each for each in cut if each[0] == len(deeds)
        ]  # after this point, all results were reported
        cut = sorted({*chance.sample(cut, part), *last})
        disturbed = chance.sample(disturbed, points - part)
    log, count = _Log(case.name, len(own)), 0
    for fault, number in disturbed:
        if log.has(fault.name, number) or _is_over():
            continue
        bench.renew()
        done = bench.run(fault, number)
        wrong = bench.judge(done, killed=fault.kills)
        bench.note(f"{fault.name} at {number} of {len(own)}, {own[number - 1]}", wrong)
        count += 1
        if not wrong:
            log.add(fault.name, number)
    count += _cut_power(bench, deeds, cut, seed, log)
    return bench.end(count, seed)


def _cut_power(
    bench: _Bench, deeds: list[Deed], plan: list[tuple[int, str]], seed: int, log: _Log
) -> int:
    """Cut the power after some calls, in the journal's order; return the number of cuts."""
    disk, at, count = Disk(bench.base, bench.work), 0, 0
    _, lasting, mended = bench.looks()
    for number, variant in plan:
        if log.has(variant, number) or _is_over():
            continue
        for deed in deeds[at:number]:
            disk.apply(deed)
        at = number
        bench.clear()
        disk.write(bench.work, variant, seed + number)
        _reboot(bench.stores(), bench.machine.environment)
        wrong = bench.broken() or bench.case.unfulfilled(bench.work, disk.said)
        if not wrong and number == len(deeds):
            wrong = bench.compare(lasting, "it had succeeded, and left")
        wrong = wrong or bench.again(mended)
        bench.note(
            f"power cut ({variant}) after {number} of {len(deeds)}, {deeds[number - 1]}", wrong
        )
        count += 1
        if not wrong:
            log.add(variant, number)
    return count


def replay_of(
    machine: Machine, folder: Path, case: Case
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files that a command left, and the files of its replayed journal."""
    bench = _Bench(machine, folder, case)
    disk = Disk(bench.base, bench.work)
    for deed in read_journal(bench.journal):
        disk.apply(deed)
    there = {}
    for top, folders, names in os.walk(bench.work):
        for name in [*names, *(each for each in folders if Path(top, each).is_symlink())]:
            path = Path(top, name)
            content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
            there[f"/{path.relative_to(bench.work)}"] = content
    return there, dict(disk.now())
