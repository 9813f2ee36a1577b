"""Builds of OE-core's recipes: hashes do not change, restored files equal the built ones, and
owners and modes under pseudo are recorded.

The tests take minutes. They need an ordinary user, since BitBake refuses to run as root, and
OECORE_TARGET: a folder that `prepare-oecore` made from BITBAKE_DIR and OECORE_DIR.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.story import Project

TARGET = os.environ.get("OECORE_TARGET", "")
RECIPES = ("zlib-native", "owned")
SAID = re.compile(r"Attempted (\d+) tasks of which (\d+) didn't need to be rerun")
CHANGING = re.compile(r"fixmepath|manifests/|spdx|\.json\.zstd$")
"""Paths of results that contain the build's path or time, with and without prov."""
OWNER = re.compile("1234/5678|somebody/somebody")
"""The owner as dpkg-deb prints it. Hash equivalence of newer releases needs it to have a name."""

IDLE = """\
python () {
    if d.getVar("PN") == "quilt-native":
        d.appendVar("do_install", "\\n    :\\n")
}
"""
"""A change that does not change the output."""

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not TARGET, reason="OECORE_TARGET is not set"),
    pytest.mark.skipif(os.geteuid() == 0, reason="BitBake refuses to be run by root"),
]


Results = dict[str, tuple[int, bytes, int]]


class OeBuild(Project):
    """A build directory with OE-core."""

    made: Results
    """Results of its first build."""

    def make(self, *settings: str, layer: bool = True) -> OeBuild:
        self.run("true")
        if layer:
            self.prov("bitbake", "setup", ".")
        for text in settings:
            self.append("conf/local.conf", text + "\n")
        return self

    def run(self, *command: str, code: int | None = 0) -> str:
        words = [f"{TARGET}/run", str(self.root), *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=1800)
        assert code in (None, done.returncode), (
            f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def bitbake(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("bitbake", *arguments, code=code)

    def built(self, *targets: str) -> int:
        """Build, and return the number of tasks that ran."""
        said = SAID.search(self.bitbake(*targets))
        assert said
        return int(said[1]) - int(said[2])

    def signatures(self) -> str:
        self.bitbake("-S", "lockedsigs", *RECIPES)
        return (self.root / "locked-sigs.inc").read_text()

    @property
    def tmp(self) -> Path:
        # older releases append the name of the C library
        return next(self.root.glob("tmp*"), self.root / "tmp")

    def workdir(self, pattern: str) -> Path:
        (found,) = self.tmp.glob(f"work/{pattern}")
        return found

    def clear(self) -> None:
        """Delete TMPDIR and SSTATE_DIR."""
        shutil.rmtree(self.tmp)
        shutil.rmtree(self.root / "sstate-cache", ignore_errors=True)

    def results(self) -> Results:
        """Return mode, content and mtime of the results of a build that are the same every time."""
        found = {}
        for top in ("sysroots-components", "pkgdata", "deploy"):
            for path in (self.tmp / top).rglob("*"):
                name = str(path.relative_to(self.tmp))
                if path.is_dir() or CHANGING.search(name):
                    continue
                state = path.lstat()
                link = stat.S_ISLNK(state.st_mode)
                content = os.fsencode(os.readlink(path)) if link else path.read_bytes()
                found[name] = (state.st_mode, content, 0 if link else state.st_mtime_ns // 10**9)
        return found

    def sysroots(self) -> Results:
        """Return the same for recipes' sysroots, without `installeddeps`."""
        found = {}
        for top in self.tmp.glob("work/*/*/*/recipe-sysroot*"):
            for path in top.rglob("*"):
                if "installeddeps" not in path.parts and (path.is_symlink() or path.is_file()):
                    content = (
                        os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
                    )
                    found[str(path.relative_to(self.tmp))] = (path.lstat().st_mode, content, 0)
        return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OeBuild]:
    """A build directory with a first build, whose results are published."""
    top = tmp_path_factory.mktemp("oe")
    made = OeBuild(top / "first").make('PROV_CACHE = "1"')
    made.prov("remote", "add", "team", str(top / "cache"), "--push", "--devices")
    made.bitbake(*RECIPES)
    made.prov("push")
    made.made = made.results()
    yield made
    shutil.rmtree(top, ignore_errors=True)


def restored_as(other: Results, made: Results) -> None:
    """Assert that restored results are equal to those built. Not all of them are restored."""
    assert len(other) > 30
    assert {name: made.get(name) for name in other} == other


def test_no_hash_depends_on_the_layer(first: OeBuild, tmp_path: Path) -> None:
    plain = OeBuild(tmp_path / "plain").make(layer=False).signatures()
    assert plain.count("\n") > 50
    assert OeBuild(tmp_path / "observed").make().signatures() == plain
    assert first.signatures() == plain


def test_owners_and_modes_under_pseudo_are_recorded(first: OeBuild) -> None:
    said = first.ask("diff", "owned:do_install")
    for line in (
        "image/dev/owned-null  type=char rdev=1:3 mode=0666",
        "image/usr/bin/owned  mode=4755",
        "image/var/lib/owned/somebody  owner=1234:5678",
        "image/var/lib/owned/secret  mode=0600",
        "image/var/lib/owned/labelled  xattr.user.owned=",
        "image/var/lib/owned/empty/",
    ):
        assert f"A {line}" in said
    first.prov("fsck")


def test_root_file_system_is_recorded_with_owners_and_devices(first: OeBuild) -> None:
    """do_image changes the root file system, as IMAGE_PREPROCESS_COMMAND does. pseudo ignores
    deployed files.
    """
    assert "WARNING: prov:" not in first.bitbake("rooted")
    rootfs = first.ask("diff", "rooted:do_rootfs")
    assert "A rootfs/dev/console  type=char rdev=5:1 mode=0600" in rootfs
    assert "A rootfs/home/mine  owner=" in rootfs  # a task set the builder's id
    assert "A rootfs/motd\n" in rootfs
    assert "X rootfs/motd  none -> owner=1234:5678" in first.ask("diff", "rooted:do_image")
    deployed = first.ask("diff", "rooted:do_image_complete")
    assert "A deploy-rooted-image-complete/rooted.image\n" in deployed
    assert "owner=" not in deployed


def test_tasks_are_recorded_while_packages_are_written(first: OeBuild) -> None:
    """do_package_write_deb creates and deletes files in packages-split while other tasks end."""
    for number in range(3):
        first.append("conf/local.conf", f'MANY_TEXT = "text {number}"\n')
        said = first.bitbake("many")
        assert "WARNING: prov:" not in said
        assert "is not recorded" not in said
    assert len([tag for tag in first.git("tag", "-l", "many/do_package_qa/*").split() if tag]) == 3
    assert "M image/usr/share/many/0/text\n" in first.ask("diff", "many:do_install")
    assert list((first.root / "sstate-cache").rglob("*many*.tar.zst")) == []
    said = first.bitbake("-c", "cleansstate", "many")
    assert "WARNING: prov:" not in said
    assert re.search("recipe many-1.0-r0: task do_package: Started", first.bitbake("many"))


def test_deleted_tmpdir_and_sstate_are_restored_from_the_store(first: OeBuild) -> None:
    first.clear()
    assert first.built(*RECIPES) == 2  # do_build has no stamp
    restored_as(first.results(), first.made)
    deb = next(first.tmp.glob("deploy/deb/all/owned_1.0*.deb"))
    listed = subprocess.run(
        ["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True
    ).stdout
    first.bitbake(
        "-c", "package_write_deb", "-f", "owned"
    )  # from the restored package, under pseudo
    assert (
        subprocess.run(["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True).stdout
        == listed
    )
    assert OWNER.search(listed) and "crw-rw-rw-" in listed and "-rwsr-xr-x" in listed


def test_another_build_directory_restores_through_a_remote(first: OeBuild, tmp_path: Path) -> None:
    other = OeBuild(tmp_path / "at/another/path").make('PROV_CACHE = "1"')
    other.prov("remote", "add", "team", str(first.root.parent / "cache"), "--devices")
    assert other.built(*RECIPES) == 2
    restored_as(other.results(), first.made)
    # the task's process creates devices and hardlinks and sets owners, for pseudo to track
    assert other.built("-c", "package", "owned") == 0
    (package,) = other.tmp.glob("work/*/owned/*/package/var/lib/owned")
    assert (package / "one").stat().st_nlink == 4  # in packages-split, too
    other.bitbake("-c", "package_write_deb", "-f", "owned")
    (deb,) = other.tmp.glob("deploy/deb/all/owned_1.0*.deb")
    listed = subprocess.run(
        ["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True
    ).stdout
    assert OWNER.search(listed)
    assert all(words in listed for words in ("crw-rw-rw-", "-rwsr-xr-x", "other link to ./var"))
    other.prov("fsck")


def test_remote_without_devices_provides_all_other_objects(first: OeBuild, tmp_path: Path) -> None:
    other = OeBuild(tmp_path / "careful").make('PROV_CACHE = "1"')
    other.prov("remote", "add", "team", str(first.root.parent / "cache"))
    said = other.bitbake("-c", "package", "owned")
    assert "is a device node" in said
    assert other.workdir("*/owned/*/package").is_dir()


def test_archives_in_sstate_are_used_and_stored(first: OeBuild, tmp_path: Path) -> None:
    plain = OeBuild(tmp_path / "plain").make(layer=False)
    plain.bitbake("quilt-native")
    moved = OeBuild(tmp_path / "moved").make(
        'PROV_CACHE = "1"', f'SSTATE_MIRRORS = "file://.* file://{plain.root}/sstate-cache/PATH"'
    )
    assert moved.built("quilt-native") == 1
    shutil.rmtree(plain.root)
    moved.clear()
    assert moved.built("quilt-native") == 1


def test_without_a_store_archives_are_written(tmp_path: Path) -> None:
    build = OeBuild(tmp_path / "build").make('PROV_CACHE = "1"')
    build.write(".prov", "no store\n")
    said = build.bitbake("quilt-native")
    assert said.count("WARNING: prov: ") == 1
    assert "tasks are not recorded:" in said
    assert list((build.root / "sstate-cache").rglob("*.tar.zst"))
    shutil.rmtree(build.tmp)
    assert build.built("quilt-native") == 1


def test_builds_with_composed_sysroots_have_the_same_results(tmp_path: Path) -> None:
    """All builds use one path, since programs contain it. Files that differ between two builds
    without prov are not compared.
    """
    build = OeBuild(tmp_path / "build")
    plain = []
    for _ in range(2):
        build.make(layer=False).bitbake(*RECIPES)
        plain.append({**build.results(), **build.sysroots()})
        hashes = build.signatures()
        build.clear()
    build.make('PROV_SYSROOTS = "1"').bitbake(*RECIPES)
    assert build.signatures() == hashes
    made = {**build.results(), **build.sysroots()}
    assert made.keys() == plain[0].keys() == plain[1].keys()
    same = [name for name in made if plain[0][name][:2] == plain[1][name][:2]]
    assert len(same) > 0.9 * len(made)
    assert [name for name in same if made[name][:2] != plain[0][name][:2]] == []
    assert [name for name in same if "recipe-sysroot-native/usr/bin/quilt" in name]
    build.prov("fsck")


def test_restore_after_rm_work_lets_configure_start_from_patched_sources(tmp_path: Path) -> None:
    build = OeBuild(tmp_path / "build").make('INHERIT += "rm_work"')
    build.bitbake("zlib-native")
    workdir = build.workdir("*/zlib-native/*")
    assert [path.name for path in workdir.iterdir()] == ["temp"]
    said = build.ask("bitbake", "restore", "zlib-native:do_patch")
    assert str(workdir) in said
    assert list(workdir.rglob("zlib-1.3*/configure"))
    said = build.bitbake("-c", "configure", "-f", "zlib-native")
    started = set(re.findall(r"recipe zlib-native\S*: task (\w+): Started", said))
    assert "do_configure" in started
    assert not started & {"do_fetch", "do_unpack", "do_patch"}
    assert build.refused("bitbake", "restore", "nothing").startswith(
        "prov: no run of nothing that can be restored is recorded"
    )


def test_failed_compile_is_explained_and_opened_in_a_shell(tmp_path: Path) -> None:
    build = OeBuild(tmp_path / "build").make()
    build.bitbake("zlib-native")
    build.write(
        "classes/broken.bbclass", 'CFLAGS:append:pn-zlib-native = " -DBROKEN -include nowhere.h"\n'
    )
    build.append("conf/local.conf", 'INHERIT:append = " broken"\n')
    build.bitbake("zlib-native", code=1)
    said = build.ask("why", "zlib-native:do_configure")
    assert "nowhere.h" in said
    failed = build.ask("log", "zlib-native")
    (tag,) = set(re.findall(r"failed/zlib-native/do_\w+/[0-9a-f]{40}/1", failed))
    shown = build.ask(
        "shell", tag, "--", "sh", "-c", "pwd; ls; cat temp/log.* | tail -50; echo $CFLAGS"
    )
    assert str(build.workdir("*/zlib-native/*")) in shown
    assert "nowhere.h" in shown


def test_equal_outputs_are_skipped_on_the_next_machine(tmp_path: Path) -> None:
    settings = ('PROV_CACHE = "1"', 'BB_SIGNATURE_HANDLER = "OEEquivHash"', 'BB_HASHSERVE = "auto"')
    one, other = (OeBuild(tmp_path / name).make(*settings) for name in ("one", "other"))
    for build, more in ((one, ["--push"]), (other, [])):
        build.prov("remote", "add", "team", str(tmp_path / "cache"), *more)
        build.write("classes/idle.bbclass", IDLE)
    one.bitbake("quilt-native", "zlib-native")
    one.append("conf/local.conf", 'INHERIT:append = " idle"\n')
    assert one.built("quilt-native", "zlib-native") <= 4  # do_install and the tasks for its output
    one.prov("push")
    other.append("conf/local.conf", 'INHERIT:append = " idle"\n')
    assert other.built("quilt-native", "zlib-native") == 2


PLANTED = (
    'DEPENDS:append:pn-zlib-native = " attr-native"',
    'DEPENDS:append:pn-pkgconfig-native = " zlib-native"',
    # bring a check for a program of pseudo-native, which depends on pkgconfig-native
    'do_configure:prepend:pn-pkgconfig-native = "    sed -i'
    r" 's/^AC_OUTPUT/AC_PATH_PROG([PROBE], [pseudo])\nAC_OUTPUT/' ${S}/configure.ac; "
    '"',
    "do_compile:append:pn-pkgconfig-native ="
    """ "    echo '#include <attr/libattr.h>' | ${CC} ${CPPFLAGS} -E - > /dev/null" """,
)


def test_planted_dependencies_of_two_recipes_are_named(tmp_path: Path) -> None:
    """zlib-native does not use attr-native, nor does pkgconfig-native use zlib-native."""
    build = OeBuild(tmp_path / "build").make(*PLANTED)
    build.bitbake("pkgconfig-native", "pseudo-native")
    answer = build.json("advise", "zlib-native", "pkgconfig-native")["recipes"]
    zlib, pkgconfig = answer
    unused = {row["package"]: row["certainty"] for row in zlib["unused"]}
    assert unused == {"attr-native:do_populate_sysroot": "candidate"}
    assert (zlib["floating"], zlib["transitive"], zlib["unknown"]) == ([], [], [])
    unused = {row["package"]: row["certainty"] for row in pkgconfig["unused"]}
    assert unused == {"zlib-native:do_populate_sysroot": "candidate"}
    (floating,) = pkgconfig["floating"]
    assert (floating["provider"], floating["cyclic"]) == ("pseudo-native", True)
    assert floating["evidence"][0].endswith("build/config.log: program pseudo not found")
    (transitive,) = pkgconfig["transitive"]
    assert transitive["package"] == "attr-native:do_populate_sysroot"
    assert transitive["evidence"][0].endswith("recipe-sysroot-native/usr/include/attr/libattr.h")
    assert pkgconfig["unknown"] == []
    groups = build.json("reads", "pkgconfig-native:do_configure")["groups"]
    assert {"m4-native:do_populate_sysroot", "autoconf-native:do_populate_sysroot"} <= {
        group["package"] for group in groups
    }
