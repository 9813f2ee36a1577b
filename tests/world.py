"""Projects with the recipes of fixtures/world, which build upstream releases."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FIXTURE = Path(__file__).parent.parent / "fixtures" / "world"
PROV = Path(sys.executable).with_name("prov")
RAN = re.compile(r"^task \d+ of \d+: (\S+:\S+) ran in ", re.MULTILINE)


@dataclass(frozen=True)
class Build:
    ran: frozenset[str]
    stdout: str

    @property
    def recipes(self) -> set[str]:
        return {key.partition(":")[0] for key in self.ran}

    @property
    def nothing(self) -> bool:
        return not self.ran and "nothing to do" in self.stdout


@dataclass(frozen=True)
class World:
    root: Path
    store: Path | None = None

    def prov(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | ({"PROV_STORE": str(self.store)} if self.store else {})
        done = subprocess.run(
            [PROV, *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, (
            f"prov {' '.join(arguments)}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        )
        return done

    def build(self, *arguments: str) -> Build:
        done = self.prov("build", *arguments)
        return Build(frozenset(RAN.findall(done.stderr)), done.stdout + done.stderr)

    def git(self, *arguments: str) -> str:
        command = ["git", "--git-dir", str(self.root / ".prov"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def recipe(self, name: str) -> Path:
        return self.root / "recipes" / name / f"{name}.toml"

    def patch_zlib(self, name: str, change: Callable[[str], str]) -> None:
        """Add a patch to zlib's recipe that changes one of its files."""
        with tarfile.open(next((self.root / "downloads").glob("zlib_*"))) as archive:
            member = next(
                each
                for each in archive.getnames()
                if each.count("/") == 1 and each.endswith(f"/{name}")
            )
            stream = archive.extractfile(member)
            assert stream is not None
            old = stream.read().decode("latin-1")
        new = change(old)
        assert new != old
        diff = difflib.unified_diff(
            old.splitlines(True), new.splitlines(True), f"a/{name}", f"b/{name}"
        )
        folder = self.recipe("zlib").parent
        (folder / f"{name}.patch").write_text("".join(diff), encoding="latin-1")
        names = ", ".join(f'"{path.name}"' for path in sorted(folder.glob("*.patch")))
        text = re.sub(r"^patches = .*\n", "", self.recipe("zlib").read_text(), flags=re.MULTILINE)
        self.recipe("zlib").write_text(
            text.replace("\n[[sources]]", f"patches = [{names}]\n\n[[sources]]", 1)
        )


QUICKLY = """
[variables]
CFLAGS = "-O0 ${DEBUG_PREFIX_MAP}"
CXXFLAGS = "-O0 ${DEBUG_PREFIX_MAP}"
"""
"""Without this, half of the time would be spent on optimizing."""


def copy_of_the_fixture(root: Path) -> Path:
    shutil.copytree(FIXTURE, root, ignore=shutil.ignore_patterns(".prov", "build", "downloads"))
    (root / "downloads").symlink_to(FIXTURE / "downloads")
    with open(root / "prov.toml", "a") as stream:
        stream.write(QUICKLY)
    return root
