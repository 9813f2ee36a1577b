"""Find what a command read in its trace by strace.

Each use belongs to an object as it was before the command (`prov.reads.namespace`), under the path
without symbolic links; the links on the way are uses of their own. An object that the command
created is not an input, except that it was missing before.

The kernel reads some files without a call: the interpreter of a script and the loader of a dynamic
program. `prov.reads.programs` finds them in the executed files.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prov.reads import namespace
from prov.reads.calls import (
    STARTS,
    Call,
    End,
    PathArgument,
    Unparsed,
    described,
    parents,
    parse_calls,
)
from prov.reads.file_calls import CHANGES, OPENS, Caller, FileCalls, shown
from prov.reads.namespace import Namespace
from prov.reads.programs import interpreter
from prov.reads.uses import Trace

_SAYS_NOTHING = frozenset(
    ("EFAULT", "EBADF", "EINTR", "ERESTART", "ENAMETOOLONG", "ENOSYS", "EMFILE", "ENFILE")
)
"""Errors that do not depend on files."""
_MOST_INTERPRETERS = 4
"""The number of interpreters that Linux runs for one program."""


class View(namespace.View, Protocol):
    """The files before a command, and the programs on disk."""

    def head(self, path: bytes) -> bytes:
        """Return the first bytes of a file as it is now; empty if it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """How a traced command was started."""

    folder: bytes
    """The canonical path of its folder, as the command sees it."""
    wrapper: bytes = b""
    """A program that prepares the command, such as bwrap: what it does itself is ignored."""
    probed: Sequence[bytes] = ()
    """Paths at which the command was looked for and not found."""


def read_trace(output: Path, view: View, started: Started, *, ended: bool = True) -> Trace:
    """Return what a command used.

    `output` is the file that strace wrote, and `ended` whether all traced processes have ended.
    Raises OSError if the file cannot be read.
    """
    trace = Trace()
    with output.open("rb") as lines:
        starters = parents(lines)
        lines.seek(0)
        reader = _TraceReader(view, started, trace, FileCalls(Namespace(view), trace), starters)
        for event in parse_calls(lines):
            reader.take(event)
    reader.finish()
    if not ended:
        trace.hide("a process outlives the command")
    return trace


@dataclass(slots=True)
class _CurrentFolder:
    """The current folder of the threads or processes that share it."""

    path: bytes


@dataclass(slots=True)
class _Process:
    folder: _CurrentFolder
    program: bytes = b""
    made: bool = False
    """Whether the command created the program."""
    ignored: bool = False
    """Whether the process still runs the wrapper."""

    def copy(self, *, shares_folder: bool) -> _Process:
        folder = self.folder if shares_folder else _CurrentFolder(self.folder.path)
        return _Process(folder, self.program, self.made, self.ignored)

    @property
    def caller(self) -> Caller:
        return Caller(self.folder.path, self.program, self.made)


@dataclass(slots=True)
class _TraceReader:
    """Follows the calls of all processes in a trace."""

    view: View
    started: Started
    trace: Trace
    files: FileCalls
    starters: dict[int, list[int]]
    """The processes that start each process, in the order of the calls."""
    processes: dict[int, _Process] = field(default_factory=dict)
    loaders: set[bytes] = field(default_factory=set)
    """The loaders of dynamic programs."""
    made_programs: set[bytes] = field(default_factory=set)
    """Executed files that the command created."""
    inspected: set[bytes] = field(default_factory=set)

    def take(self, event: Call | End | Unparsed) -> None:
        """Follow the next event."""
        match event:
            case Unparsed(line):
                self.trace.hide(f"unknown line in the trace: {line[:80]!r}")
            case End(pid, interrupted):
                self.processes.pop(pid, None)
                if interrupted in CHANGES or interrupted in OPENS:
                    self.trace.hide(f"a process was killed during {interrupted}")
            case Call():
                self.follow(event, self.process(event.pid))

    def follow(self, call: Call, process: _Process) -> None:
        if call.name in STARTS:
            self.start(call, process)
        elif call.error in _SAYS_NOTHING:
            return
        elif call.name in ("execve", "execveat"):
            self.execute(call, process)
        elif process.ignored:
            return
        elif call.name in ("chdir", "fchdir"):
            process.folder.path = self.files.enter(call, process.caller)
        else:
            self.files.call(call, process.caller)
            if call.name.startswith("rename") and not call.error:
                self.move_folders(call, process)

    def process(self, pid: int) -> _Process:
        """Return a process; it may appear before the call that started it returns."""
        process = self.processes.get(pid)
        if process is None:
            process = self.processes[pid] = self.new_process(pid)
        return process

    def new_process(self, pid: int) -> _Process:
        starters = self.starters.get(pid)
        if starters:
            parent = self.processes.get(starters.pop(0))
            if parent is not None:
                return parent.copy(shares_folder=False)
        if self.trace.uses or self.processes:
            self.trace.hide(f"the start of process {pid} is missing")
        for path in self.started.probed:
            self.trace.add(path, "m", b"")
        return _Process(_CurrentFolder(self.started.folder), ignored=bool(self.started.wrapper))

    def start(self, call: Call, process: _Process) -> None:
        """Follow a call that starts a process or a thread."""
        if call.error or call.result <= 0:
            return
        shares_folder = b"CLONE_FS" in call.text
        child = self.processes.get(call.result)
        if child is None:
            starters = self.starters.get(call.result)
            if starters:
                starters.pop(0)
            self.processes[call.result] = process.copy(shares_folder=shares_folder)
        elif shares_folder:
            child.folder = process.folder
        if b"CLONE_NEW" in call.text and not process.ignored:
            self.trace.hide("the command uses namespaces of its own")

    def execute(self, call: Call, process: _Process) -> None:
        """Follow a call that replaces a process's program."""
        if not call.paths:
            return
        argument = call.paths[0]
        if not argument.path:
            argument = PathArgument(None, described(call.text))
        if process.ignored:
            if call.error or argument.path == self.started.wrapper:
                return
            process.ignored = False
            process.folder = _CurrentFolder(self.started.folder)
        if call.error:
            self.files.probe(call, process.caller, argument)
            return
        place = self.files.look(process.caller, argument)
        if place is None:
            return
        before, is_made = place.node.before, place.node.made is not None
        process.program, process.made = place.path, is_made
        if is_made:
            self.made_programs.add(place.path)
        elif before is None:
            self.trace.hide(f"{shown(place.path)} appeared while the command ran")
        else:
            if before.mode & (stat.S_ISUID | stat.S_ISGID):
                self.trace.hide(f"{shown(place.path)} is a setuid program")
            self.trace.add(place.node.origin, "x", process.program)
            self.add_interpreters(place.path, process.program)

    def add_interpreters(self, path: bytes, program: bytes, depth: int = 0) -> None:
        """Add the interpreters of a program, which the kernel executes."""
        if path in self.inspected:
            return
        self.inspected.add(path)
        head = self.view.head(path)
        name = interpreter(head)
        if name is None or depth > _MOST_INTERPRETERS:
            self.trace.hide(f"{shown(path)} is a program of an unknown format")
            return
        if not name:
            return
        place = self.files.look(Caller(self.started.folder, program), PathArgument(None, name))
        if place is None or place.is_missing:
            return
        if place.node.made is None:
            self.trace.add(place.node.origin, "x", program)
        if head.startswith(b"#!"):
            self.add_interpreters(place.path, program, depth + 1)
        else:
            self.loaders.add(place.path)

    def finish(self) -> None:
        """Add the interpreters of programs that the command created."""
        for path in sorted(self.made_programs):
            if self.view.head(path):
                self.add_interpreters(path, path)
            elif path in self.files.self_opened or not self.loaders:
                # a deleted program without a script's first line has one of the loaders
                self.trace.hide(f"{shown(path)}, which was executed, does not exist any more")

    def move_folders(self, call: Call, process: _Process) -> None:
        """Update the current folders below a renamed folder."""
        base = process.folder.path
        old, new = (
            self.files.names.find(base if path.base is None else path.base, path.path, follow=False)
            for path in call.paths[:2]
        )
        for other in self.processes.values():
            folder = other.folder
            if folder.path == old.path or folder.path.startswith(old.path + b"/"):
                folder.path = new.path + folder.path[len(old.path) :]
