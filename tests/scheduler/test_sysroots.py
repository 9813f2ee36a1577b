"""Tests of the sysroots of tasks in real builds: declared files, with relocated paths."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import PROV, run_prov
from tests.schema.check import read_answer

pytestmark = pytest.mark.process

SANDBOXES = [
    "none",
    pytest.param("bwrap", marks=pytest.mark.skipif(not shutil.which("bwrap"), reason="no bwrap")),
]
HOSTTOOLS = (
    "sh cat cp mkdir rm sleep touch date ln find sort chmod printf ls mv tr sed strip? gcc? ld? as?"
    " cpp? env"
)


class Project:
    def __init__(self, root: Path, sandbox: str = "none") -> None:
        self.root = root
        (root / "recipes").mkdir(parents=True)
        (root / "prov.toml").write_text(
            f'sandbox = "{sandbox}"\n[variables]\nHOSTTOOLS = "{HOSTTOOLS}"\n'
        )

    def recipe(self, name: str, text: str) -> None:
        (self.root / "recipes" / f"{name}.toml").write_text(f'version = "1"\n{text}')

    def gives(self, name: str, script: str, more: str = "") -> None:
        """Write a recipe whose script fills its staging package in $top."""
        task = (
            "[tasks.populate_sysroot]\nfrom = []\nscript ="
            f" '''\ntop=$WORKDIR/sysroot-destdir\n{script}\n'''\n"
        )
        self.recipe(name, f"{more}\n{task}")

    def uses(self, name: str, script: str, more: str = "", task: str = "") -> None:
        """Write a recipe with a task `use` that uses its dependencies' packages."""
        needs = (
            'needs = ["@depends:populate_sysroot", "@depends_native:populate_sysroot"]\noutputdir ='
            ' "out"\n'
        )
        self.recipe(name, f"{more}\n[tasks.use]\n{needs}{task}\nscript = '''\n{script}\n'''\n")

    def prov(self, *arguments: str, code: int = 0, store: Path | None = None, user: int = 0) -> str:
        environment = {**os.environ, **({"PROV_STORE": str(store)} if store else {})}
        if user:
            done = subprocess.run(
                [PROV, *arguments],
                cwd=self.root,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                user=user,
                group=user,
            )
        else:
            done = run_prov(*arguments, cwd=self.root, environment=environment)
        assert done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr

    def output(self, key: str, *, store: Path | None = None) -> str:
        return str(read_answer(self.prov("show", key, "--json", store=store))["output"])

    def read(self, key: str, path: str) -> str:
        """Return a text file of a task's output, as stored."""
        tag = read_answer(self.prov("show", key, "--json"))["run"]["tag"]
        command = ["git", "--git-dir=.prov", "show", f"{tag}^2:output/content/{path}"]
        return subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, check=True
        ).stdout

    def workdir(self, name: str, chain: str = "use") -> Path:
        [found] = self.root.glob(f"build/work/*/{name}/{chain}")
        return found


SEES = """
(cd "$RECIPE_SYSROOT"; find . -type f | sort) > out/target
(cd "$RECIPE_SYSROOT_NATIVE"; find . -type f | sort) > out/native
"""
PROGRAM = """
mkdir -p "$top/usr/bin"
printf '#!/bin/sh\\necho from the tool\\n' > "$top/usr/bin/tool"
chmod 755 "$top/usr/bin/tool"
"""


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_task_sees_only_declared_files(tmp_path: Path, sandbox: str) -> None:
    project = Project(tmp_path, sandbox)
    project.gives("low", 'mkdir -p "$top/usr/lib"; echo 1 > "$top/usr/lib/low"')
    project.gives(
        "high", 'mkdir -p "$top/usr/lib"; echo 2 > "$top/usr/lib/high"', 'rdepends = ["low"]'
    )
    project.gives(
        "tool-lib",
        'mkdir -p "$top/usr/lib"; echo 3 > "$top/usr/lib/tl"',
        'classextend = ["native"]',
    )
    tool = 'classextend = ["native"]\nrdepends = ["tool-lib"]'
    project.gives("tool", PROGRAM, tool)
    project.gives("other", 'mkdir -p "$top/usr/lib"; echo 4 > "$top/usr/lib/other"')
    early = "[tasks.early]\noutputdir = 'out'\nneeds = ['tool-native:populate_sysroot']\n"
    early += f"script = '''{SEES}\ntool > out/said'''"
    project.uses("app", SEES, f'depends = ["high"]\nbuild = ["use"]\n{early}', 'after = ["early"]')
    project.prov("build", "app", "other")
    assert project.read("app:early", "out/target") == ""
    assert project.read("app:early", "out/native") == "./usr/bin/tool\n./usr/lib/tl\n"
    assert project.read("app:early", "out/said") == "from the tool\n"
    assert project.read("app:use", "out/target") == "./usr/lib/high\n./usr/lib/low\n"
    assert project.read("app:use", "out/native") == ""


def test_a_recipe_s_sysroot_includes_needs_of_earlier_tasks(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.gives(
        "tool", 'mkdir -p "$top/usr/bin"; echo > "$top/usr/bin/tool"', 'classextend = ["native"]'
    )
    project.gives("lib", 'mkdir -p "$top/usr/lib"; echo > "$top/usr/lib/lib"')
    early = "[tasks.early]\nneeds = ['tool-native:populate_sysroot']\nscript = ':'\n"
    project.uses(
        "app", SEES, f'depends = ["lib"]\nsysroot = "recipe"\n{early}', 'after = ["early"]'
    )
    project.prov("build", "app:use")
    assert project.read("app:use", "out/native") == "./usr/bin/tool\n"
    assert project.read("app:use", "out/target") == "./usr/lib/lib\n"


def test_a_bootstrap_recipe_is_used_only_if_named(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.gives("libc-initial", 'mkdir -p "$top/usr/lib"; echo > "$top/usr/lib/initial"')
    project.gives(
        "libc", 'mkdir -p "$top/usr/lib"; echo > "$top/usr/lib/libc"', 'rdepends = ["libc-initial"]'
    )
    project.uses("app", SEES, 'depends = ["libc"]')
    project.uses("compiler", SEES, 'depends = ["libc", "libc-initial"]')
    project.prov("build", "app:use", "compiler:use")
    assert project.read("app:use", "out/target") == "./usr/lib/libc\n"
    assert project.read("compiler:use", "out/target") == "./usr/lib/initial\n./usr/lib/libc\n"


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_direct_package_is_used_from_its_own_folder(tmp_path: Path, sandbox: str) -> None:
    project = Project(tmp_path, sandbox)
    script = """
mkdir -p "$top/usr/bin" "$top/usr/share"
printf '#!/bin/sh\\ncat %s/usr/share/data\\n' "$RECIPE_SYSROOT_NATIVE" > "$top/usr/bin/fake"
chmod 755 "$top/usr/bin/fake"; echo its data > "$top/usr/share/data"
"""
    project.gives("fake", script, 'classextend = ["native"]\ndirect = true')
    project.uses(
        "app",
        f"{SEES}\nfake > out/said; ls $DIRECT_FAKE_NATIVE/usr > out/usr",
        'depends_native = ["fake"]',
    )
    project.prov("build", "app:use")
    assert project.read("app:use", "out/native") == ""
    assert project.read("app:use", "out/said") == "its data\n"
    assert project.read("app:use", "out/usr") == "bin\nshare\n"


CONFLICT = 'mkdir -p "$top/usr/bin"; echo {} > "$top/usr/bin/ar"; echo same > "$top/usr/bin/same"'


def test_two_packages_with_one_path_need_an_owner(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.gives("busybox", CONFLICT.format("small"))
    project.gives("binutils", CONFLICT.format("large"))
    project.uses(
        "app", 'cp "$RECIPE_SYSROOT/usr/bin/ar" out/ar', 'depends = ["busybox", "binutils"]'
    )
    said = project.prov("build", "app:use", code=1)
    for word in (
        "usr/bin/ar",
        "busybox:populate_sysroot",
        "binutils:populate_sysroot",
        "sysroot_owner",
    ):
        assert word in said
    owner = 'sysroot_owner = { "/usr/bin/ar" = "binutils" }'
    project.uses(
        "app",
        'cp "$RECIPE_SYSROOT/usr/bin/ar" out/ar',
        f'depends = ["busybox", "binutils"]\n{owner}',
    )
    project.prov("build", "app:use")
    assert project.read("app:use", "out/ar") == "large\n"
    other = owner.replace("binutils", "busybox")
    project.uses(
        "app",
        'cp "$RECIPE_SYSROOT/usr/bin/ar" out/ar',
        f'depends = ["busybox", "binutils"]\n{other}',
    )
    assert "app:use ran" in project.prov("build", "app:use")
    assert project.read("app:use", "out/ar") == "small\n"


# the guard

WRITES = {
    "through the link": 'echo more >> "$RECIPE_SYSROOT/usr/lib/data"',
    "with the date kept": (
        "f=$RECIPE_SYSROOT/usr/lib/data; touch -r $f date; echo >> $f; touch -r date $f; rm date"
    ),
    "its mode": 'chmod 600 "$RECIPE_SYSROOT/usr/lib/data"',
    "by removing it": 'rm "$RECIPE_SYSROOT/usr/lib/data"',
    "by another file": 'echo x > x; mv x "$RECIPE_SYSROOT/usr/lib/data"',
}


@pytest.mark.parametrize("how", WRITES)
def test_a_task_that_writes_to_its_sysroot_fails(tmp_path: Path, how: str) -> None:
    project = Project(tmp_path)
    project.gives(
        "lib",
        'mkdir -p "$top/usr/lib"; echo data > "$top/usr/lib/data"; echo 2 > "$top/usr/lib/other"',
    )
    project.uses("good", 'cp "$RECIPE_SYSROOT/usr/lib/data" out/', 'depends = ["lib"]')
    project.uses("bad", WRITES[how], 'depends = ["lib"]')
    project.uses("late", 'cp "$RECIPE_SYSROOT/usr/lib/data" out/; echo late', 'depends = ["lib"]')
    project.prov("build", "good:use")
    good = project.output("good:use")
    said = project.prov("build", "bad:use", code=1)
    assert re.search(
        r"failed: bad:use: the sysroot changed while the task ran: recipe-sysroot/usr/lib/data"
        r" \(.+\)",
        said,
    )
    project.prov("build", "late:use")
    assert project.read("late:use", "out/data") == "data\n"
    # results from the good file are kept; the next task sees it again, although its sysroot was
    # linked to the changed file
    project.prov("build", "good:use", "-f", "good:use")
    assert project.output("good:use") == good
    assert (project.workdir("good") / "recipe-sysroot/usr/lib/data").read_text() == "data\n"
    project.uses("bad", 'cp "$RECIPE_SYSROOT/usr/lib/data" out/', 'depends = ["lib"]')
    project.prov("build", "bad:use")
    assert project.read("bad:use", "out/data") == "data\n"


def test_strip_that_preserves_dates_is_detected(tmp_path: Path) -> None:
    if not (shutil.which("gcc") and shutil.which("strip")):
        pytest.skip("needs gcc and strip")
    project = Project(tmp_path)
    script = (
        'mkdir -p "$top/usr/lib"; echo "int x(void){return 1;}" > x.c; gcc -shared -fPIC -o'
        ' "$top/usr/lib/libx.so" x.c'
    )
    project.gives("lib", script)
    # as root or not, strip writes a new file and copies it over the old one, which keeps its inode
    # and mtime
    project.uses("bad", 'strip -p "$RECIPE_SYSROOT/usr/lib/libx.so"', 'depends = ["lib"]')
    assert "usr/lib/libx.so" in project.prov("build", "bad:use", code=1)


def test_a_parallel_task_with_the_changed_file_fails_too(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.gives("lib", 'mkdir -p "$top/usr/lib"; echo data > "$top/usr/lib/data"')
    # both have the file at the same time; one writes, the other reads later
    wait = 'n=0; while [ ! -e "{}" ] && [ $n -lt 200 ]; do sleep 0.1; n=$((n+1)); done; '
    flag, begun = tmp_path / "written", tmp_path / "begun"
    bad = wait.format(begun) + f'echo bad >> "$RECIPE_SYSROOT/usr/lib/data"; touch {flag}'
    innocent = f"touch {begun}; " + wait.format(flag) + 'cp "$RECIPE_SYSROOT/usr/lib/data" out/'
    project.uses("bad", bad, 'depends = ["lib"]')
    project.uses("innocent", innocent, 'depends = ["lib"]')
    said = project.prov("build", "-k", "-j2", "bad:use", "innocent:use", code=1)
    assert "failed: bad:use: the sysroot changed while the task ran" in said
    assert re.search(
        r"failed: innocent:use: the sysroot changed .*; bad:use ran at the same time and may"
        r" have",
        said,
    )
    project.prov("build", "innocent:use")
    assert project.read("innocent:use", "out/data") == "data\n"


def test_files_added_to_a_sysroot_are_removed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.gives("lib", 'mkdir -p "$top/usr/lib"; echo data > "$top/usr/lib/data"')
    first = (
        "[tasks.first]\nneeds = ['@depends:populate_sysroot']\nscript = 'echo >"
        ' "$RECIPE_SYSROOT/usr/lib/cache"\'\n'
    )
    project.uses("app", SEES, f'depends = ["lib"]\n{first}', 'after = ["first"]')
    project.prov("build", "app:use")
    assert project.read("app:use", "out/target") == "./usr/lib/data\n"


@pytest.mark.skipif(not shutil.which("bwrap"), reason="no bwrap")
def test_in_the_sandbox_a_sysroot_cannot_be_written_to(tmp_path: Path) -> None:
    project = Project(tmp_path, "bwrap")
    project.gives("lib", 'mkdir -p "$top/usr/lib"; echo data > "$top/usr/lib/data"')
    for number, path in enumerate(("$RECIPE_SYSROOT", "$WORKDIR/recipe-sysroot", "/build/sysroot")):
        project.uses(f"bad{number}", f'echo more >> "{path}/usr/lib/data"', 'depends = ["lib"]')
        assert "Read-only file system" in project.prov("build", f"bad{number}:use", code=1)


# places

NAMES_PLACES = """
mkdir -p "$top/usr/lib/pkgconfig"
here=$RECIPE_SYSROOT
printf 'libdir=%s/usr/lib\\nlibs=-L%s/usr/lib -L/usr/lib\\n' "$here" "$here" \\
    > "$top/usr/lib/libx.la"
printf 'built in %s with %s\\n' "$WORKDIR" "$RECIPE_SYSROOT_NATIVE" > "$top/usr/lib/pkgconfig/x.pc"
echo plain > "$top/usr/lib/plain"
"""


def uses_places(project: Project) -> None:
    project.uses(
        "app",
        'cp "$RECIPE_SYSROOT/usr/lib/libx.la" out/; printf "%s" "$RECIPE_SYSROOT" > place',
        'depends = ["lib"]',
    )


def test_an_output_is_relocatable(
    tmp_path: Path,
) -> None:
    outputs = set()
    for folder, sandbox in (("a", "none"), ("some/where/else", "none"), ("boxed", "auto")):
        project = Project(tmp_path / folder, sandbox)
        project.gives("lib", NAMES_PLACES)
        uses_places(project)
        project.prov("build", "app:use")
        outputs.add(project.output("lib:populate_sysroot"))
        outputs.add(project.output("app:use"))
        here = (project.workdir("app") / "place").read_text()
        found = (project.workdir("app") / "recipe-sysroot/usr/lib/libx.la").read_text()
        assert found == f"libdir={here}/usr/lib\nlibs=-L{here}/usr/lib -L/usr/lib\n"
        assert "prov" not in found
        assert project.read("app:use", "out/libx.la").startswith("libdir=@PROV:SYSROOT@/usr/lib\n")
        assert (project.workdir("app") / "recipe-sysroot/usr/lib/plain").stat().st_nlink > 1
    assert len(outputs) == 2


def test_one_store_serves_two_directories_and_two_users(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("another user can be had by root alone")
    try:
        subprocess.run([PROV, "--version"], user=12345, cwd="/", capture_output=True, check=True)
    except OSError:
        pytest.skip(f"another user can't run {PROV}")
    store = tmp_path / "store"
    first, second = Project(tmp_path / "first"), Project(tmp_path / "second" / "deeper")
    for project in (first, second):
        project.gives("lib", NAMES_PLACES)
        uses_places(project)
    first.prov("build", "lib", store=store)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    for path in tmp_path.parents:
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(0o755)
    said = second.prov("build", "app:use", store=store, user=12345)
    assert "lib:populate_sysroot ran" not in said
    assert "1 restored" in said
    sysroot = second.workdir("app") / "recipe-sysroot"
    assert (sysroot / "usr/lib/libx.la").read_text().startswith(f"libdir={sysroot}/usr/lib\n")


HOLDS = 'mkdir -p "$top/usr/lib"; printf "%s\\0x" "$WORKDIR" > "$top/usr/lib/module.pyc"'


def test_an_output_that_is_not_relocatable_is_not_reused_elsewhere(tmp_path: Path) -> None:
    store, first = tmp_path / "store", Project(tmp_path / "first")
    first.gives("lib", HOLDS)
    said = first.prov("build", "lib", store=store)
    assert "cannot replace the build paths in sysroot-destdir/usr/lib/module.pyc" in said
    assert "nothing to do" in first.prov("build", "lib", store=store)
    shutil.copytree(first.root / "recipes", tmp_path / "second" / "recipes")
    shutil.copy(first.root / "prov.toml", tmp_path / "second")
    second = Project.__new__(Project)
    second.root = tmp_path / "second"
    assert "lib:populate_sysroot ran" in second.prov("build", "lib", store=store)
    assert "nothing to do" in second.prov("build", "lib", store=store)
    said = second.prov("buildpaths", "lib", store=store, code=1)
    assert "sysroot-destdir/usr/lib/module.pyc" in said


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_native_program_finds_its_library_by_a_relative_rpath(
    tmp_path: Path, sandbox: str
) -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    project = Project(tmp_path, sandbox)
    flags = "hosttools = ['@toolchain']\nneeds = ['@depends:populate_sysroot']"
    library = """
echo "int answer(void){return 42;}" > l.c
mkdir -p "$top/usr/lib"; gcc -shared -fPIC $LDFLAGS -o "$top/usr/lib/libanswer.so" l.c
"""
    program = """
echo 'int answer(void); int main(void){return answer() - 42;}' > m.c
mkdir -p "$top/usr/bin"; gcc m.c $LDFLAGS -lanswer -o "$top/usr/bin/ask"; "$top/usr/bin/ask"
"""
    project.gives("answer", library, 'classextend = ["native"]')
    project.gives(
        "ask", program, 'classextend = ["native"]\ndepends = ["answer"]\nrdepends = ["answer"]'
    )
    for name in ("answer", "ask"):
        path = project.root / "recipes" / f"{name}.toml"
        path.write_text(path.read_text().replace("from = []", f"from = []\n{flags}"))
    project.uses("app", "ask && echo it ran > out/said", 'depends_native = ["ask"]')
    project.prov("build", "app:use")
    assert project.read("app:use", "out/said") == "it ran\n"
    project.prov("checkout", "ask-native:populate_sysroot@output", str(tmp_path / "out"))
    dynamic = subprocess.run(
        ["readelf", "-d", tmp_path / "out/sysroot-destdir/usr/bin/ask"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "[$ORIGIN/../lib]" in dynamic
    assert "0 files with build paths" in project.prov("buildpaths", "ask-native")


# undeclared dependencies

HEADER = """
mkdir -p "$top/usr/include" "$top/usr/lib"
echo "#define A 1" > "$top/usr/include/{}"
echo > "$top/usr/lib/libzz.a"
"""
LACKS = {
    "a header": ("echo '#include <{header}>' > x.c; gcc -E x.c", "`depends`"),
    "a library": ("echo 'int main(){{return 0;}}' > x.c; gcc x.c -lzz", "`depends`"),
}


@pytest.mark.skipif(
    not shutil.which("bwrap") or not shutil.which("gcc"), reason="no bwrap or no gcc"
)
@pytest.mark.parametrize("what", LACKS)
def test_an_undeclared_file_is_missing_and_its_recipe_is_suggested(
    tmp_path: Path, what: str
) -> None:
    # preferably a header that exists on the host and does not come with the compiler
    header = next((path.name for path in sorted(Path("/usr/include").glob("z*.h"))), "zlib.h")
    project = Project(tmp_path, "bwrap")
    project.gives("zlib", HEADER.format(header))
    script, key = LACKS[what]
    script = 'gcc() { command gcc $CPPFLAGS "$@" $LDFLAGS; }\n' + script.format(header=header)
    use = "hosttools = ['@toolchain']"
    project.uses("app", script, "", use)
    project.prov("build", "zlib")
    said = project.prov("build", "app:use", code=1)
    assert f"add zlib to {key} in " in said
    assert "recipes/app.toml" in said
    if what == "a header":
        project.uses("app", script, 'depends = ["zlib"]', use)
        project.prov("build", "app:use")


# scripts

LOADERS = """
mkdir -p "$top/usr/bin" "$top/usr/lib/loaders"
echo {name} > "$top/usr/lib/loaders/{name}"
{{
echo '#!/bin/sh'
echo 'cd "$RECIPE_SYSROOT_NATIVE/usr/lib"'
echo 'ls loaders > loaders.cache'
}} > "$top/usr/bin/postinst-{name}"
chmod 755 "$top/usr/bin/postinst-{name}"
"""


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_postinst_scripts_run_in_the_final_sysroot(tmp_path: Path, sandbox: str) -> None:
    project = Project(tmp_path, sandbox)
    for name in ("png", "jpeg"):
        project.gives(name, LOADERS.format(name=name), 'classextend = ["native"]')
    read = 'cp "$RECIPE_SYSROOT_NATIVE/usr/lib/loaders.cache" out/'
    project.uses("app", read, 'depends_native = ["png", "jpeg"]')
    project.prov("build", "app:use")
    assert project.read("app:use", "out/loaders.cache") == "jpeg\npng\n"
    project.uses("app", read, 'depends_native = ["png"]')
    project.prov("build", "app:use")
    assert project.read("app:use", "out/loaders.cache") == "png\n"
    cache = project.workdir("app") / "recipe-sysroot-native/usr/lib/loaders.cache"
    assert cache.stat().st_nlink == 1
    wrong = LOADERS.format(name="png") + 'echo "exit 3" >> "$top/usr/bin/postinst-png"'
    project.gives("png", wrong, 'classextend = ["native"]')
    said = project.prov("build", "app:use", code=1)
    assert "postinst-png of png-native:populate_sysroot failed" in said


def test_an_image_has_the_tools_that_its_packages_postinst_scripts_need(tmp_path: Path) -> None:
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    shutil.copytree(
        Path(__file__).parents[2] / "fixtures/demo",
        tmp_path / "demo",
        ignore=shutil.ignore_patterns(".prov", "build"),
    )
    project = Project.__new__(Project)
    project.root = tmp_path / "demo"
    words = project.root / "recipes/words/words.toml"
    package = """
[packages.words]
postinst_depends_native = ["embed"]
postinst = 'printf abc > "$D/usr/lib/in"; cd "$D/usr/lib"; embed in > words.cache; rm in'
"""
    words.write_text(words.read_text() + package)
    project.prov("build", "demo-image")
    out = tmp_path / "out"
    project.prov("checkout", "demo-image:rootfs@output/rootfs", str(out))
    assert (out / "usr/lib/words.cache").read_text()
    assert not (out / "usr/lib/in").exists()
    words.write_text(words.read_text().replace("embed in >", "exit 7; embed in >"))
    assert "the postinst script of words ended with 7" in project.prov(
        "build", "demo-image", code=1
    )


PROGRAM_WITH_PATHS = """
cat > p.c <<'END'
#include <stdio.h>
int main(void) { puts(WHERE); puts(DATA); return 0; }
END
mkdir -p image/usr/bin image/usr/lib
gcc -DWHERE="\\"$WORKDIR/x\\"" \\
    -DDATA="\\"$RECIPE_SYSROOT_NATIVE/usr/share/data\\"" p.c -o image/usr/bin/p
printf '%s\\0x' "$WORKDIR" > image/usr/lib/module.pyc
"""


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_paths_in_programs_are_relocated_through_other_tasks(tmp_path: Path, sandbox: str) -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    project = Project(tmp_path, sandbox)
    make = (
        "[tasks.make]\noutputdir = 'image'\nhosttools = ['@toolchain']\nscript ="
        f" '''{PROGRAM_WITH_PATHS}'''"
    )
    stage = "[tasks.populate_sysroot]\nfrom = ['make']\nscript = 'cp -a image/usr sysroot-destdir/'"
    project.recipe("p", f"classextend = ['native']\n{make}\n{stage}")
    project.uses("a-user-with-quite-a-long-name", "p > out/said", 'depends_native = ["p"]')
    said = project.prov("build", "a-user-with-quite-a-long-name:use")
    found = (project.workdir("a-user-with-quite-a-long-name") / "out/said").read_text().splitlines()
    native = "/build/sysroot-native" if sandbox == "bwrap" else "/nonexistent"
    assert found == ["/nonexistent/x", f"{native}/usr/share/data"]
    if sandbox == "none":  # the using task's path is longer than the producing task's
        assert (
            "usr/bin/p: has no space for the new paths, and contains /nonexistent instead" in said
        )
    listed = project.prov("buildpaths", "p-native", code=1)
    for task, path in (("make", "image"), ("populate_sysroot", "sysroot-destdir/usr")):
        inside = path if task == "make" else path.removesuffix("/usr")
        assert f"p-native:{task}  {inside}/usr/bin/p  binary, NATIVE, WORKDIR" in listed
        assert f"p-native:{task}  {inside}/usr/lib/module.pyc  not relocatable" in listed


def test_a_manually_changed_sysroot_is_composed_again(tmp_path: Path) -> None:
    project = Project(tmp_path, "auto")
    project.gives(
        "lib",
        'mkdir -p "$top/usr/lib"; echo data > "$top/usr/lib/data"; echo 2 > "$top/usr/lib/other"',
    )
    project.uses("app", SEES, 'depends = ["lib"]')
    project.prov("build", "app:use")
    sysroot = project.workdir("app") / "recipe-sysroot/usr/lib"
    (sysroot / "data").unlink()
    (sysroot / "junk").write_text("junk")
    assert "composing it again" in project.prov("build", "app:use", "-f", "app:use")
    assert project.read("app:use", "out/target") == "./usr/lib/data\n./usr/lib/other\n"
