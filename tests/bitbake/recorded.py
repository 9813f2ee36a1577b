"""Replay recorded requests of BitBake tasks to the writer. The script `record` records them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prov.bitbake.setup import layer
from tests.bitbake.story import PATIENCE, BuildDirectory
from tests.commands import PROV

sys.path.insert(0, str(layer() / "lib"))
from provlayer import facts, wire

__all__ = ["facts", "wire"]

RECORDED = Path(__file__).parents[2] / "fixtures" / "bitbake" / "recorded"
BUILDS = ("first", "changed", "failing")

Line = dict[str, Any]


def read(build: str, top: str = "@TOP@") -> Iterator[Line]:
    """Yield the recorded lines of a build, for the build directory `top`."""
    for text in (RECORDED / f"{build}.jsonl").read_text().splitlines():
        yield json.loads(text.replace("@TOP@", top))


def signatures() -> list[Line]:
    return [line["signature"] for build in BUILDS for line in read(build) if "signature" in line]


class Replayed(BuildDirectory):
    """A build directory in which recorded requests are sent to a real writer."""

    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.root / ".prov.sock"

    def begin(self, *by: str) -> None:
        """Start a writer as BitBake's server does, optionally through another program `by`."""
        self.root.mkdir(exist_ok=True)
        command = [*by, PROV, "bitbake", "writer", str(self.root / ".prov"), str(self.socket)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert "ready" in self.word()

    def word(self) -> Any:
        """Return the writer's next message."""
        assert self.process and self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the writer ended with {self.process.wait()}"
        return json.loads(line)

    def say(self, line: Line) -> Any:
        """Write the files that a task left, send its request, and return the answer."""
        if line["asked"]["what"] == "end":
            self.lay_out(line)
        return wire.ask(str(self.socket), line["asked"], line["body"].encode())

    def lay_out(self, line: Line) -> None:
        workdir = Path(line["asked"]["workdir"])
        (workdir / "temp").mkdir(parents=True, exist_ok=True)
        Path(line["asked"]["signature"]).write_text(json.dumps(line["signature"]))
        for path, text in line["texts"].items():
            Path(path).write_text(text)
        _make(workdir, line["workdir"])

    def end(self, line: Line | None = None) -> list[Any]:
        """End the build, or the server if there is no `line`. Return the writer's last messages."""
        assert self.process and self.process.stdin and self.process.stdout
        if line is not None:
            self.process.stdin.write(json.dumps(line["server"]).encode() + b"\n")
        self.process.stdin.close()
        words = [json.loads(word) for word in self.process.stdout]
        assert self.process.wait(PATIENCE) == 0
        self.process.stdout.close()
        self.process = None
        assert not self.socket.exists()
        return words

    def replay(self, build: str) -> list[Any]:
        self.begin()
        for line in read(build, str(self.root)):
            if "server" in line:
                return self.end(line)
            assert self.say(line) == {}, line["asked"]
        raise AssertionError(f"{build} has no end")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe
                pipe.close()


def _make(workdir: Path, wanted: Line) -> None:
    """Make a WORKDIR equal to its recorded content, without touching unchanged files."""
    for path in sorted(workdir.rglob("*"), reverse=True):
        name = str(path.relative_to(workdir))
        if name.partition("/")[0] != "temp" and name not in wanted:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, entry in wanted.items():
        path = workdir / name
        if "link" in entry:
            if not path.is_symlink() or os.readlink(path) != entry["link"]:
                path.unlink(missing_ok=True)
                path.symlink_to(entry["link"])
            continue
        if "text" not in entry:
            path.mkdir(exist_ok=True)
        elif not path.exists() or path.read_text() != entry["text"]:
            path.write_text(entry["text"])
        if path.stat().st_mode & 0o7777 != entry["mode"]:
            path.chmod(entry["mode"])
