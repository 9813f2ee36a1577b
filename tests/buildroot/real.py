"""Build small packages with a real Buildroot: two for the target, and one for the host.

The packages in fixtures/buildroot have local sources and need no toolchain: nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

EXTERNAL = Path(__file__).parents[2] / "fixtures/buildroot/external"
OPTIONS = (
    "BR2_x86_64=y",
    "BR2_TOOLCHAIN_EXTERNAL=y",
    "BR2_PER_PACKAGE_DIRECTORIES=y",
    "BR2_PACKAGE_GREET=y",
)
TARGETS = ("greet", "host-greet")


@dataclass(frozen=True, slots=True)
class Build:
    """A build directory of Buildroot."""

    source: Path
    """Buildroot's source tree."""
    output: Path
    external: Path

    @staticmethod
    def create(source: Path, folder: Path) -> Build:
        """Return a new build directory, configured with these packages."""
        build = Build(source, folder / "output", folder / "external")
        shutil.copytree(EXTERNAL, build.external)
        build.output.mkdir()
        defconfig = folder / "defconfig"
        defconfig.write_text("".join(f"{line}\n" for line in OPTIONS))
        build.make(f"BR2_EXTERNAL={build.external}", f"BR2_DEFCONFIG={defconfig}", "defconfig")
        return build

    def make(self, *words: str, code: int = 0, **variables: str) -> str:
        """Run make; return its output. Raises AssertionError for another exit status."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        command = ["make", "-C", str(self.source), f"O={self.output}", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, env=kept | variables, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{' '.join(command)} exited with {done.returncode}: {said}"
        return said
