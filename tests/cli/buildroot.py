"""Call the script of `prov buildroot setup` as Buildroot does."""

from __future__ import annotations

import os
import subprocess
from subprocess import CompletedProcess

from prov.buildroot.setup import SCRIPT
from tests.cli.story import Project


def call_script(project: Project, *words: str, **variables: str) -> CompletedProcess[str]:
    """Run the script as Buildroot does, in another directory."""
    script = project.root / SCRIPT
    options = [f"--make=20260102-030405-{os.getpid()}", f"--directory={project.root}/build/zlib"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **variables}
    return subprocess.run(
        [script, *options, *words],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
