"""Run the blocks of a documentation page as if pasted, and compare the output.

A page has one bash session, so directories and variables persist. It starts in a clone of the
repository (the Makefile, `.venv` and some fixtures) below a sealed HOME. `/tmp`, `/srv` and
`/home/anna` in a page are folders of a temporary one. CONTRIBUTING.md describes how to write
blocks.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).parents[2]
OMITTED = "…"
SECONDS = 600  # limit for one command, on a busy machine
HEADING = re.compile(r"(#+) ")
FENCE = re.compile(r"```(\w*)$")
MARK = re.compile(r"<!-- (skip|needs|file|append): *(.*?) *-->$")
HIDDEN = "<!-- run"
HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
# printed only if the host's tools changed since the last capture
NOISE = re.compile(r"note: recording \d+ files of .*tools")
OWN_FOLDER = re.compile(r"(?<![\w.-])/(tmp|srv|home/anna)\b")
VARIABLE = (
    (re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?"), "<time>"),
    (re.compile(r"\b([0-9a-f]{4,64}…|[0-9a-f]{7,64}\b)"), "<id>"),
    (re.compile(r"\b(\d+ (min|h) )?\d+(\.\d+)? ?(ms|s|min|h|B|kB|MB|GB|bytes)\b"), "<amount>"),
    (re.compile(r"(?<=seconds) +\d\S*"), " <amount>"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. Marks come from the hidden comments that apply to it."""

    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    def reason_to_skip(self) -> str:
        """Return why the block cannot run here; empty if it can."""
        for need in self.marks.get("needs", "").replace(",", " ").split():
            name = need.removeprefix("$")
            if not (shutil.which(need) if name == need else os.environ.get(name)):
                return f"needs {need}"
        return self.marks.get("skip", "")


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the lines that the page shows as its output."""

    line: int
    command: str
    expected: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """A command that ended, with its merged standard output and standard error."""

    step: Step
    output: list[str]
    status: int

    def fault(self) -> str:
        """Return how output or status differ from the page; empty if they match."""
        shown = self.step.expected
        if self.status and (not shown or shown[-1] == OMITTED):
            return "\n".join([f"exit status {self.status}", *self.output])
        difference = mismatch(shown, self.output) if shown else ""
        return "\n".join([difference, "The output:", *self.output]) if difference else ""


def parse(text: str) -> list[Block]:
    """Return the blocks of a page.

    A `skip` or `needs` comment on the line below a heading applies to all blocks of that section,
    and any other comment to the next block.
    """
    blocks: list[Block] = []
    sections: dict[int, dict[str, str]] = {}
    marks: dict[str, str] = {}
    heading_above = False
    lines = text.splitlines()
    end_of_block = 0
    for index, line in enumerate(lines):
        if index < end_of_block:
            continue
        if mark := MARK.match(line):
            if not mark[2]:
                raise ValueError(f"line {index + 1}: the comment states no reason or name")
            of_section = heading_above and mark[1] in ("skip", "needs")
            (sections[max(sections)] if of_section else marks)[mark[1]] = mark[2]
            continue
        heading = HEADING.match(line)
        heading_above = heading is not None
        if heading:
            depth = len(heading[1])
            sections = {level: sections[level] for level in sections if level < depth}
            sections[depth] = {}
        elif line == HIDDEN or FENCE.match(line):
            last = lines.index("-->" if line == HIDDEN else "```", index)
            body = "".join(f"{inner}\n" for inner in lines[index + 1 : last])
            language = "console" if line == HIDDEN else line.removeprefix("```")
            inherited = {
                name: text for section in sections.values() for name, text in section.items()
            }
            blocks.append(Block(index + 1, language, body, inherited | marks))
            marks = {}
            end_of_block = last + 1
    return blocks


def steps(block: Block) -> list[Step]:
    """Return the commands of a console block."""
    commands: list[Step] = []
    end: str | None = None  # the last line of the command's here-document
    continued = False
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if commands and (continued or end):
            commands[-1] = Step(commands[-1].line, f"{commands[-1].command}\n{line}")
            end = None if line == end else end
        elif line.startswith("$ "):
            commands.append(Step(number, line[2:]))
            end = here[1] if (here := HERE_DOCUMENT.search(line)) else None
        elif commands:
            commands[-1].expected.append(line)
            continue
        else:
            raise ValueError(f"line {number}: a console block begins with `$ `, not {line!r}")
        continued = line.endswith("\\") and not end
    return commands


def normalized(line: str) -> str:
    """Return a line with a placeholder for each time, id, duration and size."""
    for pattern, placeholder in VARIABLE:
        line = pattern.sub(placeholder, line)
    return line.rstrip()


def mismatch(expected: list[str], actual: list[str]) -> str:
    """Return the first difference between page and output; empty if they match.

    `…` stands for any text in a line, or alone on a line for any lines.
    """
    gaps = [line.strip() == OMITTED for line in expected]
    patterns = [".*".join(map(re.escape, normalized(line).split(OMITTED))) for line in expected]

    def past_gaps(places: set[int]) -> set[int]:
        for place, is_gap in enumerate(gaps):
            if is_gap and place in places:
                places.add(place + 1)
        return places

    # all lines of the page that the next line of output may match
    places = past_gaps({0})
    for line in actual:
        if NOISE.match(line):
            continue
        after = set()
        for place in places - {len(expected)}:
            if gaps[place]:
                after.add(place)
            elif re.fullmatch(patterns[place], normalized(line)):
                after.add(place + 1)
        if not after:
            shown = [expected[place] for place in sorted(places - {len(expected)})]
            return f"The output has {line!r} where the page shows {shown or 'no more lines'}."
        places = past_gaps(after)
    if len(expected) in places:
        return ""
    return f"The output ends where the page shows {expected[max(places)]!r}."


class Session:
    """A shell in a folder of its own, with one processor: tasks then run in a fixed order."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="prov-docs-")).resolve()
        home = self.root / "home/anna"
        clone = home / "prov"
        for folder in (clone / ".venv", self.root / "tmp", self.root / "srv"):
            folder.mkdir(parents=True)
        fixtures = ("demo", "hooks", "bitbake/page", "buildroot")
        for name in (f"fixtures/{fixture}" for fixture in fixtures):
            shutil.copytree(
                TOP / name, clone / name, ignore=shutil.ignore_patterns(".prov", "build")
            )
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy2(TOP / name, clone / name)
        programs = Path(sys.executable).parent
        (clone / ".venv/bin").symlink_to(programs)
        (clone / ".venv/.installed").touch()
        # with the variables of a make around the tests, make prints the folders it enters
        foreign = ("GIT_", "XDG_", "PROV_", "SSH_", "MAKE", "MFLAGS")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        environment |= {"HOME": str(home), "TMPDIR": str(self.root / "tmp")}
        environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "GIT_CONFIG_NOSYSTEM": "1"}
        environment |= {"LC_ALL": "C.UTF-8", "TZ": "UTC", "COLUMNS": "80", "TERM": "dumb"}
        self.shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=clone,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        os.sched_setaffinity(self.shell.pid, {min(os.sched_getaffinity(0))})

    def own(self, text: str) -> str:
        """Return a page's text with this session's folders."""
        return OWN_FOLDER.sub(rf"{self.root}/\1", text)

    def run(self, step: Step) -> Result:
        assert self.shell.stdin and self.shell.stdout
        script, output = self.root / "command", self.root / "output"
        script.write_text(self.own(step.command) + "\n")
        self.shell.stdin.write(f". {script} </dev/null >{output} 2>&1; echo $?\n")
        self.shell.stdin.flush()
        ready = select.select([self.shell.stdout], [], [], SECONDS)[0]
        status = self.shell.stdout.readline() if ready else ""
        text = output.read_text(errors="replace").replace(str(self.root), "")
        text = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "vm", text)
        if not status:
            why = "the shell ended" if ready else f"no end after {SECONDS} s"
            raise RuntimeError(f"line {step.line}: $ {step.command}: {why}\n{text}")
        return Result(step, text.rstrip().splitlines(), int(status))

    def write(self, name: str, text: str, *, append: bool) -> None:
        """Write a file that the page shows, relative to the session's folder."""
        folder = Path(os.readlink(f"/proc/{self.shell.pid}/cwd"))
        path = folder / self.own(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w") as file:
            file.write(self.own(text))
        if text.startswith("#!"):
            path.chmod(0o755)

    def close(self) -> None:
        os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.communicate()
        subprocess.run(["chmod", "-R", "u+rwX", self.root], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def run(page: Path) -> Iterator[Result]:
    """Run a page's blocks in order, and return the result of each command."""
    session = Session()
    try:
        for block in parse(page.read_text(encoding="utf-8")):
            if block.reason_to_skip():
                continue
            if name := block.marks.get("file", block.marks.get("append")):
                session.write(name, block.text, append="append" in block.marks)
            elif block.language == "console":
                yield from map(session.run, steps(block))
            elif block.language == "sh":
                yield session.run(Step(block.line, block.text))
            elif block.language == "toml":
                tomllib.loads(block.text)
            elif block.language == "json":
                json.loads(block.text)
    finally:
        session.close()
