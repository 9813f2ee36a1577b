"""Live BitBake builds that share a remote make each object of shared state once."""

from __future__ import annotations

from pathlib import Path

from prov.remote.settings import Remote
from tests.bitbake.staged import Directories, Level, Staged, live, started
from tests.remote.story import until
from tests.sharing.test_claiming import claims_at

WAIT = 'do_install:append:pn-{recipe} = "    while [ ! -e {gate} ]; do sleep 0.1; done"'


def machine(staged: Directories, name: str, cache: Path) -> Staged:
    build = staged(name, level=Level.CACHE)
    build.prov("remote", "add", "team", str(cache), "--push", "--claims")
    return build


@live
def test_a_build_waits_for_what_another_makes(staged: Directories, tmp_path: Path) -> None:
    """It restores the object before the other build has ended."""
    cache, gate, end = tmp_path / "cache", tmp_path / "gate", tmp_path / "end"
    one, other = machine(staged, "one", cache), machine(staged, "other", cache)
    lines = [
        WAIT.format(recipe="words-native", gate=gate),
        WAIT.format(recipe="app", gate=end),
        'PROV_WAIT = "100"',
    ]
    for build in (one, other):
        build.write("conf/once.conf", "\n".join(lines) + "\n")
    first = one.start("bitbake", "-R", "conf/once.conf", "app")
    one.wait(lambda: list(one.tmp.glob("work/*/words-native/*/temp/run.do_install")), "it installs")
    remote = Remote("team", f"file://{cache}")
    one.wait(lambda: claims_at(remote), "the first build claims")
    second = other.start("bitbake", "-R", "conf/once.conf", "words-native")
    output = ""
    assert second.stdout is not None
    for line in second.stdout:
        output += line
        if "waiting for builds elsewhere that run" in line:
            gate.touch()
    assert second.wait() == 0
    assert started(output) == {"words-native:do_populate_sysroot_setscene"}
    end.touch()
    one.ended(first)
    until(lambda: not claims_at(remote), "the claims are released")
