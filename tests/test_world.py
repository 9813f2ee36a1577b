"""Builds of upstream releases: which tasks run after each kind of change.

The tests depend on each other's results and run in order, by `pytest -m world`, in minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.schema.check import read_answer
from tests.world import FIXTURE, World, copy_of_the_fixture

ZLIB_CHAIN = {f"zlib:{task}" for task in ("patch", "configure", "compile", "install")}
OUTPUTS = "refs/prov/output"
TOOLS = ("gcc", "make", "cmake", "ninja", "tclsh", "bzip2", "xz", "dpkg-deb")

pytestmark = [pytest.mark.process, pytest.mark.world]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A copy of fixtures/world, built once from scratch."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    got = subprocess.run([FIXTURE / "get-sources"], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(got.stderr.strip() or "get-sources failed")
    made = World(copy_of_the_fixture(tmp_path_factory.mktemp("world") / "world"))
    made.prov("init")
    first = made.build("-j", str(os.cpu_count() or 1), "world")
    assert {
        "zlib:compile",
        "libpng:configure",
        "sqlite:install",
        "m4-native:install",
        "world-image:image",
    } <= first.ran
    return made


def test_the_image_holds_what_was_built(world: World) -> None:
    image = world.root / "build/deploy/images/qemux86-64/world-image-qemux86-64.tar.gz"
    with tarfile.open(image) as archive:
        names = set(archive.getnames())
        stream = archive.extractfile("./etc/machine-info")
        assert stream is not None
        assert b'MACHINE="qemux86-64"' in stream.read()
    wanted = (
        "bin/busybox",
        "bin/sh",
        "usr/bin/sqlite3",
        "usr/lib/libpng16.so.16",
        "usr/lib/libz.so.1",
    )
    assert {f"./{name}" for name in wanted} <= names


def test_a_second_build_runs_nothing(world: World) -> None:
    assert world.build("world").nothing


def test_a_changed_comment_stops_where_the_output_is_the_same(world: World) -> None:
    line = '#include "zutil.h"\n'
    world.patch_zlib(
        "adler32.c", lambda text: text.replace(line, line.rstrip() + " /* a comment */\n")
    )
    assert world.build("world").ran == ZLIB_CHAIN


def test_a_changed_header_reruns_what_is_built_with_it(world: World) -> None:
    world.patch_zlib(
        "zlib.h", lambda text: text.replace("#define ZLIB_H\n", "#define ZLIB_H /* changed */\n")
    )
    build = world.build("world")
    assert (
        ZLIB_CHAIN
        | {"zlib:populate_sysroot", "libpng:configure", "libpng:install", "sqlite:configure"}
        <= build.ran
    )
    assert build.ran.isdisjoint({"zlib:fetch", "zlib:unpack", "libpng:patch", "readline:configure"})
    assert build.recipes.isdisjoint(
        {"expat", "xz", "lz4", "m4", "m4-native", "ncurses", "busybox", "machine-info"}
    )


def test_why_reports_the_patch(world: World) -> None:
    answer = read_answer(world.prov("why", "sqlite:compile", "--json").stdout)
    [cause] = answer["causes"]
    assert cause["task"] == "zlib:patch"
    assert cause["chain"][-1] == "sqlite:compile"
    changes = {
        change["name"]: change["diff"] for change in cause["changes"] if change["kind"] == "patch"
    }
    assert any(
        "+#define ZLIB_H /* changed */" in line for diff in changes.values() for line in diff
    )
    difference = read_answer(world.prov("diff", "latest", "--json").stdout)
    assert {key for cause in difference["causes"] for key in cause["tasks"]} == {"zlib:patch"}


def test_which_task_made_a_file_of_the_image(world: World) -> None:
    steps = read_answer(world.prov("blame", "usr/bin/sqlite3", "--json").stdout)["steps"]
    assert [step["task"] for step in steps][:1] == ["world-image:rootfs"]
    assert steps[-1]["task"].startswith("sqlite:")


def test_bisect_finds_the_changed_header_without_building(world: World) -> None:
    before = world.git("for-each-ref", "refs/tags")
    command = ["sh", "-c", "! grep -q 'ZLIB_H .. changed' {}/usr/include/zlib.h"]
    name = "zlib:populate_sysroot@output/sysroot-destdir"
    options = ("--of", name, "--json", "--no-combination")
    answer = read_answer(
        world.prov("bisect", "start", "latest~3", "latest", *options, "--", *command).stdout
    )
    assert [cause["kind"] for cause in answer["causes"]] == ["patch"]
    assert answer["causes"][0]["tasks"] == ["zlib:patch"]
    assert world.git("for-each-ref", "refs/tags") == before


@pytest.mark.parametrize("recipe", ["zlib", "libpng", "world-image"])
def test_a_build_can_be_reproduced_elsewhere(world: World, recipe: str) -> None:
    assert "repeated: identical" in world.prov("reproduce", recipe).stdout


def test_a_changed_packaging_rule_reruns_packaging_alone(world: World) -> None:
    with world.recipe("zlib").open("a") as stream:
        stream.write('\n[packages.zlib-headers]\nfiles = ["/usr/include/"]\n')
    build = world.build("world")
    assert {"zlib:package", "zlib:package_deb", "zlib:package_ipk"} <= build.ran
    tasks = {key.partition(":")[2] for key in build.ran}
    assert tasks <= {"package", "packagedata", "package_deb", "package_ipk", "rootfs", "image"}


def test_without_its_workdirs_nothing_runs(world: World) -> None:
    shutil.rmtree(world.root / "build" / "work")
    assert world.build("world-image").nothing


def test_a_different_machine_reruns_machine_tasks(world: World) -> None:
    build = world.build("--set", "MACHINE=other", "world")
    assert build.recipes == {"machine-info", "world-image"}
    assert (world.root / "build/deploy/images/other/world-image-other.tar.gz").is_file()
    assert world.build("world").nothing, "the first machine's is recorded still"


@pytest.fixture(scope="module")
def other(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same project with an empty store, and a remote with the world's outputs."""
    folder = tmp_path_factory.mktemp("other")
    world.prov("remote", "add", "team", str(folder / "cache.git"), "--push", "--trust", "none")
    world.prov("push", "--all")
    world.prov("remote", "remove", "team")
    shutil.copytree(
        world.root, folder / "world", symlinks=True, ignore=shutil.ignore_patterns(".prov", "build")
    )
    made = World(folder / "world")
    made.prov("remote", "add", "team", str(folder / "cache.git"), "--trust", "none")
    return made


def test_another_store_fetches_the_image_and_the_packages_and_runs_nothing(other: World) -> None:
    build = other.build("world-image")
    assert not build.ran
    fetched = {
        tuple(ref.split("/")[3:5])
        for ref in other.git("for-each-ref", "--format=%(refname)", OUTPUTS).split()
    }
    assert {task for _, task in fetched} == {"package_deb", "image"}
    assert ("zlib", "package_deb") in fetched
    assert (other.root / "build/deploy/images/qemux86-64/world-image-qemux86-64.tar.gz").is_file()


def test_a_new_image_uses_fetched_packages(
    other: World,
) -> None:
    build = other.build("--force", "world-image:rootfs", "world-image")
    assert {key.partition(":")[0] for key in build.ran} == {"world-image"}
    assert not (other.root / "build/work" / "x86_64" / "zlib").exists()


def test_the_store_is_sound(world: World) -> None:
    git = ["git", "--git-dir", ".prov", "fsck", "--strict"]
    done = subprocess.run(git, cwd=world.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if line.startswith(("error", "warning"))
    ]


WITH_PNG = """
version = "1"
depends = ["libpng"]
depends_native = ["pkgconf"]

[tasks.use]
needs = ["@depends:populate_sysroot", "@depends_native:populate_sysroot"]
hosttools = ["@toolchain"]
outputdir = "out"
script = '''
echo '#include <png.h>' > p.c
echo 'int main(void) { return png_access_version_number() != PNG_LIBPNG_VER; }' >> p.c
$CC $CFLAGS $(pkg-config --cflags libpng) p.c $LDFLAGS $(pkg-config --libs libpng) -o p
LD_LIBRARY_PATH=$RECIPE_SYSROOT/usr/lib ./p
. "$RECIPE_SYSROOT/usr/lib/libpng16.la"
for flag in $dependency_libs; do
    case $flag in -L*) [ -d "${flag#-L}" ] ;; esac
done
echo "$dependency_libs" > dependency_libs
echo right > out/said
'''
"""


def test_libpng_is_equal_and_correct_in_another_directory(world: World, tmp_path: Path) -> None:
    """Build without a sandbox, and keep libtool archives, which contain paths of the sysroot."""
    options = ("--sandbox", "none", "--set", "libpng:REMOVE_LIBTOOL_LA=0")
    one, other = (
        World(copy_of_the_fixture(tmp_path / place)) for place in ("one", "quite/another")
    )
    ids = []
    for each in (one, other):
        each.build(*options, "libpng")
        ids.append(
            [
                read_answer(each.prov("show", task, "--json").stdout)["output"]
                for task in ("libpng:install", "libpng:populate_sysroot")
            ]
        )
    assert ids[0] == ids[1]
    user = World(other.root, one.root / ".prov")
    (user.root / "recipes/with-png").mkdir()
    (user.root / "recipes/with-png/with-png.toml").write_text(WITH_PNG)
    build = user.build(*options, "with-png:use")
    assert "with-png:use" in build.ran
    assert build.recipes <= {"with-png", "pkgconf-native"}
    [workdir] = user.root.glob("build/work/*/with-png/use")
    assert f"-L{workdir}/recipe-sysroot/usr/lib" in (workdir / "dependency_libs").read_text()


PLANTED = {
    "planted.toml": """
version = "1"
depends = ["libpng", "expat"]
sources = [{ file = "configure" }, { file = "planted.c" }]

[variables]
S = "${WORKDIR}"

[tasks.configure]
script = 'sh "$S/configure"'

[tasks.compile]
script = '$CC $CPPFLAGS $CFLAGS -I. "$S/planted.c" $LDFLAGS -lpng16 -lz -o planted'

[tasks.install]
script = 'install -D planted "$D/usr/bin/planted"'
""",
    "configure": """
: > config.h
if echo '#include <lzma.h>' | $CC $CPPFLAGS $CFLAGS -E - > /dev/null 2> config.log; then
    echo '#define HAVE_LZMA 1' >> config.h
fi
""",
    "planted.c": """
#include <config.h>
#include <png.h>
#include <zlib.h>
int main(void) { return png_access_version_number() != PNG_LIBPNG_VER || !zlibVersion(); }
""",
}
"""A recipe that does not use expat, looks for xz, and uses zlib, which only libpng brings."""


@pytest.mark.skipif(
    not (shutil.which("bwrap") and shutil.which("strace")), reason="no bwrap or no strace"
)
def test_planted_dependencies_are_named_and_unused_ones_proved(
    world: World, tmp_path: Path
) -> None:
    made = World(tmp_path / "world", world.root / ".prov")
    others = shutil.ignore_patterns(".prov", "build")
    shutil.copytree(world.root, made.root, symlinks=True, ignore=others)
    lines = {"lz4": 'depends = ["expat"]', "libpng": 'rdepends = ["zlib"]'}
    for name, line in lines.items():
        made.recipe(name).write_text(f"{line}\n{made.recipe(name).read_text()}")
    made.recipe("planted").parent.mkdir()
    for name, text in PLANTED.items():
        made.recipe("planted").with_name(name).write_text(text)
    build = made.build("--trace", "lz4", "--trace", "planted", "lz4", "planted")
    assert build.recipes == {"lz4", "planted"}
    answer = read_answer(made.prov("advise", "--prove", "--json", "lz4", "planted").stdout)
    lz4, planted = answer["recipes"]
    for advice in (lz4, planted):
        unused = [(own["package"], own["certainty"]) for own in advice["unused"]]
        assert unused == [("expat:populate_sysroot", "proved")]
    assert [own["provider"] for own in planted["floating"]] == ["xz"]
    assert [own["package"] for own in planted["transitive"]] == ["zlib:populate_sysroot"]
    assert not (lz4["floating"] or lz4["transitive"] or lz4["unknown"] or planted["unknown"])
