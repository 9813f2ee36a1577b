"""Commands in a restored WORKDIR."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.replay.scene import Scene


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -9 $$", 137),
        ('test "$(pwd -P)" = "$PLACE" && test "$1" = word', 0),
    ],
)
def test_status_of_a_command_is_that_of_a_shell(tmp_path: Path, script: str, status: int) -> None:
    scene = Scene(
        folder=tmp_path,
        environment={"PATH": "/usr/bin:/bin", "PLACE": str(tmp_path.resolve())},
        enter=lambda command: [*command, "word"],
        shell=lambda: ["sh"],
    )
    assert scene.run(["sh", "-c", script, "name"]) == status
