"""Live BitBake builds that share a remote make each object of shared state once."""

from __future__ import annotations

from pathlib import Path

from prov.remote.settings import Remote
from tests.bitbake.staged import Directories, Level, Staged, live, started
from tests.remote.story import until
from tests.sharing.test_claiming import claims_at

SLOW = 'do_install:append:pn-words-native = "    while [ ! -e {gate} ]; do sleep 0.1; done"'


def machine(staged: Directories, name: str, cache: Path) -> Staged:
    build = staged(name, level=Level.CACHE)
    build.prov("remote", "add", "team", str(cache), "--push", "--claims")
    return build


@live
def test_a_build_waits_for_what_another_makes(staged: Directories, tmp_path: Path) -> None:
    cache, gate = tmp_path / "cache", tmp_path / "gate"
    one, other = machine(staged, "one", cache), machine(staged, "other", cache)
    for build in (one, other):
        build.write("conf/once.conf", SLOW.format(gate=gate) + '\nPROV_WAIT = "100"\n')
    first = one.start("bitbake", "-R", "conf/once.conf", "app")
    one.wait(lambda: claims_at(Remote("team", f"file://{cache}")), "the first build claims")
    one.wait(lambda: list(one.tmp.glob("work/*/words-native/*/temp/run.do_install")), "it installs")
    second = other.start("bitbake", "-R", "conf/once.conf", "app")
    output = ""
    assert second.stdout is not None
    for line in second.stdout:
        output += line
        if "waiting for builds elsewhere that run" in line:
            gate.touch()
    assert (one.ended(first) != "", second.wait()) == (True, 0)
    assert started(output) == {
        "app:do_populate_sysroot_setscene",
        "base:do_populate_sysroot_setscene",
    }
    until(lambda: not claims_at(Remote("team", f"file://{cache}")), "the claims are released")
