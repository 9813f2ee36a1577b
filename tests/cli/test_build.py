"""`prov build` as a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.projects import Prov, one_task, write
from tests.cli.story import DEMO, Project
from tests.commands import PROV
from tests.schema.check import read_answer


def git(folder: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={folder / '.prov'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "demo"
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns(".prov", "build"))
    subprocess.run([PROV, "build", "demo-image"], cwd=root, check=True, capture_output=True)
    return root


def test_demo_deploys_an_image_with_its_packages_in_order(demo: Path) -> None:
    manifest = (demo / "build/deploy/images/demo/demo-image-demo.manifest").read_text().splitlines()
    assert manifest == ["words 1.0", "greet 2.1", "hello 1.2"]
    assert sorted(path.name for path in (demo / "build/deploy").iterdir()) == ["deb", "images"]


def test_demo_image_runs(demo: Path, prov: Prov, tmp_path: Path) -> None:
    prov("checkout", "demo-image:rootfs@output", str(tmp_path / "image"), cwd=demo)
    root = tmp_path / "image" / "rootfs"
    environment = {"LD_LIBRARY_PATH": str(root / "usr/lib")}
    done = subprocess.run(
        [root / "usr/bin/hello", "a", "b"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "hello, a\nhi, b\n"


def test_second_build_runs_nothing_even_without_workdirs(demo: Path, prov: Prov) -> None:
    assert prov("build", "demo-image", cwd=demo).stdout.startswith("nothing to do")
    shutil.rmtree(demo / "build" / "work")
    assert prov("build", "demo-image", cwd=demo).stdout.startswith("nothing to do")


def test_stock_git_reads_the_store(demo: Path, tmp_path: Path, prov: Prov) -> None:
    subprocess.run(
        ["git", f"--git-dir={demo / '.prov'}", "fsck", "--strict"], check=True, capture_output=True
    )
    tag = read_answer(prov("log", "hello:install", "--json", cwd=demo).stdout)["runs"][0]["tag"]
    changed = git(demo, "diff", "--name-status", f"{tag}^", tag).splitlines()
    assert changed == ["A\timage/usr/bin/hello", "A\timage/usr/share/doc/hello/usage.txt"]
    assert "make" in git(demo, "show", f"{tag}^2:log")
    subprocess.run(["git", "clone", "--quiet", demo / ".prov", tmp_path / "clone"], check=True)
    subprocess.run(["git", "-C", tmp_path / "clone", "checkout", "--quiet", tag], check=True)
    assert os.access(tmp_path / "clone/image/usr/bin/hello", os.X_OK)


def test_one_package_format_is_built_without_the_others(demo: Path, prov: Prov) -> None:
    assert prov("log", "hello:package_ipk", "--json", cwd=demo, code=1).stdout == ""
    prov("build", "hello:package_ipk", cwd=demo)
    (made,) = (demo / "build/deploy/ipk").glob("hello_*.ipk")
    listed = subprocess.run(
        ["ar", "t", made], capture_output=True, text=True, check=True
    ).stdout.split()
    assert listed == ["debian-binary", "control.tar.gz", "data.tar.gz"]


def test_packages_depend_on_the_libraries_of_their_programs(demo: Path) -> None:
    (made,) = (demo / "build/deploy/deb").glob("hello_*.deb")
    done = subprocess.run(
        ["dpkg-deb", "--field", made, "Depends"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "greet"


def test_json_has_a_schema(demo: Path, prov: Prov) -> None:
    for command in (
        ["plan", "demo-image"],
        ["log"],
        ["show", "hello:compile"],
        ["diff", "hello:compile"],
        ["status"],
    ):
        assert read_answer(prov(*command, "--json", cwd=demo).stdout)["schema"] == 1
    assert read_answer(prov("var", "CFLAGS", "hello", "--json", cwd=demo).stdout)["schema"] == 1


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("version = '1'\ndepend = ['b']\n", "unknown key `depend`.*did you mean depends"),
        ("version = 1\n", "version: expected a string, not 1 hint: write it in quotes"),
        ("summary = 'x'\n", "`version` is missing"),
        ("version = '1'\narch = 'nativ'\n", "did you mean native"),
        ("version = '1'\n[tasks.go]\nscript = 3\n", "tasks.go.script: expected a string, not 3"),
        (
            "version = '1'\n[tasks.go]\noutputdir = '../x'\n",
            "outputdir.*outside WORKDIR",
        ),
        ("version = '1'\n[tasks.go]\noutputdir = '/x'\n", "outputdir.*outside WORKDIR"),
        (
            "version = '1'\ninherit = ['autotool']\n",
            "class autotool does not exist.*did you mean autotools",
        ),
        ("version = '1'\ndepends = ['zlip']\n", "a needs zlip, which no recipe provides"),
        ("version = '1'\n[tasks.go]\nafter = ['compil']\n", "no task compil.*did you mean compile"),
        (
            "version = '1'\n[tasks.go]\nafter = ['og']\n[tasks.og]\nafter = ['go']\n",
            "a:go -> a:og -> a:go",
        ),
        ("version = '1'\n[[sources]]\nurl = 'https://x/y'\n", "`url` requires `sha256`"),
        (
            "version = '1'\n[[sources]]\ngit = 'https://x/y'\ncommit = 'main'\n",
            r"sources\[0\].commit: invalid value .main. hint: use 40 lower-case hex digits",
        ),
        (
            "version = '1'\n[variables]\nX = '${Y}'\n[tasks.go]\ndir = '${X}'\nscript = ':'\n",
            r"\$\{Y\} is not set",
        ),
        ("version = '1'\nbroken\n", "invalid TOML.*line 2"),
    ],
)
def test_invalid_recipe_is_one_clear_error(
    prov: Prov, tmp_path: Path, recipe: str, message: str
) -> None:
    import re

    tail = "" if "[tasks.go]" in recipe else "[tasks.go]\nscript = ':'\n"
    broken = recipe.endswith("broken\n")
    write(tmp_path, recipe if broken else recipe + tail)
    target = "a:configure" if "depends = " in recipe else "a:go"
    done = prov("build", target, code=1)
    text = " ".join((done.stdout + done.stderr).split())
    assert re.search(message, text), text
    assert "Traceback" not in text


def test_environment_is_clean(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("env > out/env", ""), settings='sandbox = "none"\n')
    text = (tmp_path / "prov.toml").read_text().replace("touch", "touch env")
    (tmp_path / "prov.toml").write_text(text)
    subprocess.run(
        [PROV, "build", "a"],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "SECRET": "x"},
        capture_output=True,
    )
    prov("checkout", "a:go@output", str(tmp_path / "o"))
    names = {line.split("=")[0] for line in (tmp_path / "o/out/env").read_text().splitlines()}
    assert "SECRET" not in names
    assert names <= {
        "PATH",
        "HOME",
        "TMPDIR",
        "LC_ALL",
        "RECIPE_SYSROOT",
        "RECIPE_SYSROOT_NATIVE",
        "TZ",
        "SHELL",
        "USER",
        "MAKEFLAGS",
        "PWD",
        "OLDPWD",
        "_",
        "SHLVL",
    }


def bubblewrap() -> bool:
    if not shutil.which("bwrap"):
        return False
    return (
        subprocess.run(
            ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True
        ).returncode
        == 0
    )


needs_bubblewrap = pytest.mark.skipif(
    not bubblewrap(), reason="bubblewrap is not installed or not permitted"
)


@needs_bubblewrap
def test_sandboxed_task_cannot_write_outside(prov: Prov, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("safe\n")
    script = (
        f"echo hit > {target} || echo safe > out/x\ncat {tmp_path}/prov.toml && exit 9\ncp out/x"
        " /usr/x && exit 9\ntrue"
    )
    write(tmp_path, one_task(script), settings='sandbox = "bwrap"\n')
    prov("build", "a")
    assert target.read_text() == "safe\n"


@needs_bubblewrap
def test_sandboxed_task_sees_only_its_host_tools(prov: Prov, tmp_path: Path) -> None:
    write(
        tmp_path,
        one_task("test ! -e /usr/bin/gcc && test ! -e /usr/include/stdio.h"),
        settings='sandbox = "bwrap"\n',
    )
    prov("build", "a")


def test_write_to_another_workdir_without_a_sandbox_is_reported(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("echo mine > f"), "victim")
    write(tmp_path, one_task("for d in ../../victim/go; do echo theirs > $d/f; done"), "culprit")
    prov("build", "victim")
    done = prov("build", "culprit", "victim")
    assert "victim" in done.stderr
    done = prov("build", "-f", "culprit:go", "culprit", "victim")
    assert "changed outside any task" in done.stderr
    assert "culprit:go ran at that time" in done.stderr


def test_failed_task_is_reported_with_its_reason_and_log(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("echo about to fail; exit 3"))
    done = prov("build", "a", code=1)
    assert "failed: a:go: exit status 3" in done.stdout
    assert "about to fail" in done.stdout
    assert "log.go" in done.stdout
    assert "FAILED" in prov("log", "a:go").stdout


def test_interrupt_stops_the_children_and_the_next_build_continues(
    prov: Prov, tmp_path: Path
) -> None:
    write(tmp_path, one_task("touch out/started; sleep 30"))
    process = subprocess.Popen(
        [PROV, "build", "a"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while (
        not list((tmp_path / "build").glob("work/*/a/go/out/started"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    subprocess.run(
        ["git", f"--git-dir={tmp_path / '.prov'}", "fsck", "--strict"],
        check=True,
        capture_output=True,
    )
    write(tmp_path, one_task("touch out/started"))
    prov("build", "a")


def test_kill_midway_loses_nothing(prov: Prov, tmp_path: Path) -> None:
    recipes = [
        f"version='1'\nbuild=['go']\n[tasks.go]\noutputdir='out'\nscript='cp /bin/sh out/{n}; sleep"
        " 0.05'\n"
        for n in range(12)
    ]
    for number, recipe in enumerate(recipes):
        write(tmp_path, recipe, f"r{number}")
    for delay in (0.4, 0.6, 0.8, 1.0):
        process = subprocess.Popen(
            [PROV, "build", "world"], cwd=tmp_path, stdout=-3, stderr=-3, start_new_session=True
        )
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if (tmp_path / ".prov/HEAD").exists():
            subprocess.run(
                ["git", f"--git-dir={tmp_path / '.prov'}", "fsck", "--strict"],
                check=True,
                capture_output=True,
            )
    done = prov("build", "world")
    assert "failed" not in done.stdout
    assert prov("build", "world").stdout.startswith("nothing to do")


def test_two_builds_at_once_agree(prov: Prov, tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path, one_task(f"sleep 0.1; echo {number} > out/x"), f"r{number}")
    prov("init")
    both = [
        subprocess.Popen([PROV, "build", "world"], cwd=tmp_path, stdout=-3, stderr=-3)
        for _ in range(2)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    assert prov("build", "world").stdout.startswith("nothing to do")
    assert len(git(tmp_path, "log", "--oneline", "builds").splitlines()) == 3
    assert all(name.endswith("/1") for name in git(tmp_path, "tag").split())


def test_deployed_file_is_removed_when_no_task_makes_it(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("echo 1 > out/one; echo 2 > out/two", "deploy = true\n"))
    prov("build", "a")
    deploy = tmp_path / "build/deploy"
    (deploy / "others").write_text("not prov's\n")
    write(tmp_path, one_task("echo 1 > out/one", "deploy = true\n"))
    prov("build", "a")
    assert sorted(path.name for path in deploy.iterdir()) == ["one", "others"]
    (deploy / "one").unlink()
    prov("build", "a")
    assert (deploy / "one").read_text() == "1\n"
    write(tmp_path, one_task("echo 1 > out/one"))
    (tmp_path / "recipes/a.toml").rename(tmp_path / "recipes/b.toml")
    prov("build", "b")
    assert sorted(path.name for path in deploy.iterdir()) == ["others"]


def test_postprocess_runs_wherever_the_output_is_placed(prov: Prov, tmp_path: Path) -> None:
    recipe = one_task("echo 1 > out/x", "postprocess = 'echo ${PN} > out/stamp'\n")
    write(
        tmp_path,
        recipe + "[tasks.use]\nfrom = ['go']\noutputdir = 'seen'\nscript = 'cp out/stamp seen/'\n",
    )
    prov("build", "a:use")
    prov("checkout", "a:use@output", str(tmp_path / "o"))
    assert (tmp_path / "o/seen/stamp").read_text() == "a\n"


def with_hook(root: Path, name: str) -> str:
    shutil.copy(Path(__file__).parents[2] / "fixtures" / "hooks" / name, root / name)
    return f'sandbox = "none"\nplan_hooks = ["{name}"]\n'


def test_rm_work_hook_deletes_up_to_date_workdirs(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("echo 1 > out/x"), "kept", settings=with_hook(tmp_path, "rm_work"))
    write(tmp_path, one_task("echo 1 > out/x"), "b", settings=with_hook(tmp_path, "rm_work"))
    prov("build", "world")
    write(tmp_path, one_task("echo 2 > out/x"), "b", settings=with_hook(tmp_path, "rm_work"))
    prov("build", "world")
    assert not list(tmp_path.glob("build/work/*/kept/go"))
    assert list(tmp_path.glob("build/work/*/b/go"))
    assert "1 ran" in prov("build", "-f", "kept:go", "world").stdout


def test_rebuild_hook_runs_only_the_named_recipe_again(prov: Prov, tmp_path: Path) -> None:
    settings = with_hook(tmp_path, "rebuild")
    write(tmp_path, one_task("echo 1 > out/x"), "dep", settings=settings)
    recipe = (
        one_task("echo 1 > out/y", "needs = ['dep:go']\n") + "[tasks.rebuild]\nneeds = ['go']\n"
    )
    write(tmp_path, recipe, "a", settings=settings)
    assert "3 ran" in prov("build", "a:rebuild").stdout
    done = prov("build", "a:rebuild")
    assert "2 ran" in done.stdout
    assert "dep:go" not in done.stderr


def test_task_after_two_others_starts_from_both_workdirs(prov: Prov, tmp_path: Path) -> None:
    recipe = one_task("cat l r > out/x; test ! -e t", "after = ['left', 'right']\n")
    tasks = "[tasks.top]\nscript = 'echo t > t'\n"
    tasks += "[tasks.left]\nafter = ['top']\nscript = 'echo l > l; rm t'\n"
    tasks += "[tasks.right]\nafter = ['top']\nscript = 'echo r > r'\n"
    write(tmp_path, recipe + tasks)
    prov("build", "a")
    prov("checkout", "a:go@output", str(tmp_path / "o"))
    assert (tmp_path / "o/out/x").read_text() == "l\nr\n"
    write(tmp_path, recipe + tasks.replace("echo r > r", "echo r > r; echo other > l"))
    done = prov("build", "a", code=1)
    assert "a:left and a:right both wrote l" in " ".join(done.stdout.split())


def served(folder: Path) -> tuple[subprocess.Popen[str], str]:
    command = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(folder),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().split("port ")[1].split()[0]


def source_recipe(source: str) -> str:
    look = "[tasks.look]\nafter = ['unpack']\noutputdir = 'out'\nscript = 'cp -r top/* out/'\n"
    return f"version = '1'\nbuild = ['look']\nsources = [{source}]\n{look}"


@pytest.mark.parametrize("sandbox", ["none", pytest.param("auto", marks=needs_bubblewrap)])
def test_sources_are_fetched_checked_and_unpacked(prov: Prov, tmp_path: Path, sandbox: str) -> None:
    import hashlib

    (tmp_path / "www" / "top").mkdir(parents=True)
    (tmp_path / "www/top/file").write_text("fetched\n")
    subprocess.run(
        ["tar", "-C", tmp_path / "www", "-czf", tmp_path / "www/top.tar.gz", "top"], check=True
    )
    digest = hashlib.sha256((tmp_path / "www/top.tar.gz").read_bytes()).hexdigest()
    server, port = served(tmp_path / "www")
    try:
        url = f"http://127.0.0.1:{port}/top.tar.gz"
        write(tmp_path, source_recipe(f"{{ url = '{url}', sha256 = '{'0' * 64}' }}"), settings="")
        assert f"sha256 is {digest}" in " ".join(
            prov("build", "--sandbox", sandbox, "a", code=1).stdout.split()
        )
        write(tmp_path, source_recipe(f"{{ url = '{url}', sha256 = '{digest}' }}"), settings="")
        (tmp_path / "prov.toml").write_text('recipes = ["recipes"]\n')
        prov("build", "--sandbox", sandbox, "a")
    finally:
        server.terminate()
        server.wait()
    prov("checkout", "a:look@output", str(tmp_path / "o"))
    assert (tmp_path / "o/out/file").read_text() == "fetched\n"


@pytest.mark.parametrize("sandbox", ["none", pytest.param("auto", marks=needs_bubblewrap)])
def test_git_source_is_the_pinned_commit(prov: Prov, tmp_path: Path, sandbox: str) -> None:
    upstream = tmp_path / "upstream"
    commands = [
        "git init -q .",
        "mkdir d",
        "echo one > d/file",
        "git add .",
        "git -c user.name=a -c user.email=a commit -qm one",
    ]
    upstream.mkdir()
    subprocess.run(" && ".join(commands), shell=True, cwd=upstream, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=upstream, capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(
        "echo two > d/file && git -c user.name=a -c user.email=a commit -qam two",
        shell=True,
        cwd=upstream,
        check=True,
    )
    write(
        tmp_path,
        source_recipe(f"{{ git = 'file://{upstream}', commit = '{commit}', name = 'top' }}"),
    )
    (tmp_path / "prov.toml").write_text('recipes = ["recipes"]\n')
    prov("build", "--sandbox", sandbox, "a")
    prov("checkout", "a:look@output", str(tmp_path / "o"))
    assert (tmp_path / "o/out/d/file").read_text() == "one\n"


def test_umask_of_the_sources_does_not_change_the_hash(prov: Prov, tmp_path: Path) -> None:
    hashes = []
    for mode in (0o644, 0o664):
        root = tmp_path / oct(mode)
        root.mkdir()
        write(root, source_recipe("{ file = 'top' }"))
        (root / "recipes/top").mkdir()
        (root / "recipes/top/file").write_text("x\n")
        (root / "recipes/top/file").chmod(mode)
        steps = read_answer(prov("plan", "a:fetch", "--json", cwd=root).stdout)["steps"]
        hashes.append(steps[0]["task_hash"])
    assert hashes[0] == hashes[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_full_disk_fails_the_task_and_loses_nothing(prov: Prov, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        write(small, one_task("echo 1 > out/x"), "little")
        prov("build", "little", cwd=small)
        text = one_task(
            "for n in 1 2 3 4 5 6 7 8 9; do head -c 2000000 /dev/urandom > out/$n; done; true"
        )
        write(small, text, "large")
        (small / "prov.toml").write_text(
            (small / "prov.toml").read_text().replace("touch", "touch head")
        )
        done = prov("build", "large", code=1, cwd=small)
        assert "No space left" in done.stdout + done.stderr
        subprocess.run(
            ["git", f"--git-dir={small / '.prov'}", "fsck", "--strict"],
            check=True,
            capture_output=True,
        )
        subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
        prov("build", "large", "little", cwd=small)
        assert not list((small / ".prov/objects/pack").glob("tmp_*"))
    finally:
        subprocess.run(["umount", "-l", small], check=False)


def test_toml_files_among_sources_are_not_recipes(prov: Prov, tmp_path: Path) -> None:
    (tmp_path / "recipes/app/app").mkdir(parents=True)
    (tmp_path / "recipes/app/app/pyproject.toml").write_text("[project]\nname = 'x'\n")
    write(tmp_path, one_task("true"), "app/app")
    prov("build", "app")


def test_newest_run_has_the_highest_number(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("exit 3"))
    prov("build", "a", code=1)
    prov("build", "a", code=1)
    runs = read_answer(prov("log", "a:go", "--json").stdout)["runs"]
    assert [run["number"] for run in runs] == [2, 1]
    assert read_answer(prov("show", "a:go", "--json").stdout)["run"]["number"] == 2


def test_outputdir_may_be_a_variable_below_workdir(prov: Prov, tmp_path: Path) -> None:
    write(
        tmp_path,
        "version = '1'\nbuild = ['go']\n[tasks.go]\noutputdir = '${D}'\nscript = 'touch image/x'\n",
    )
    prov("build", "a")
    prov("checkout", "a:go@output", str(tmp_path / "o"))
    assert (tmp_path / "o/image/x").exists()


def test_recipe_adds_to_a_package_of_its_class(prov: Prov, tmp_path: Path) -> None:
    recipe = "version = '1'\ninherit = ['package']\n[packages.a]\nsummary = 'mine'\n"
    recipe += "[tasks.install]\nscript = 'mkdir $D/usr; touch $D/usr/x'\n"
    write(tmp_path, recipe)
    (tmp_path / "prov.toml").write_text('recipes = ["recipes"]\nsandbox = "none"\n')
    prov("build", "a:package")
    prov("checkout", "a:package@output", str(tmp_path / "o"))
    packages = json.loads((tmp_path / "o/pkgdata/a/packages.json").read_text())
    assert packages["a"]["summary"] == "mine"
    assert packages["a"]["files"] == ["usr/x"]


def test_two_tasks_cannot_deploy_the_same_name(prov: Prov, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, one_task(f"echo {name} > out/same", "deploy = true\n"), name)
    done = prov("build", "world", code=1)
    assert "a:go and b:go deploy different files as same" in done.stderr


def test_passed_variables_are_inputs_except_for_network_tasks(prov: Prov, tmp_path: Path) -> None:
    tasks = "[tasks.net]\nnetwork = true\noutputdir = 'net'\nscript = 'echo $TOKEN > net/x'\n"
    write(tmp_path, one_task("echo $TOKEN > out/x") + tasks)
    text = (tmp_path / "prov.toml").read_text()
    (tmp_path / "prov.toml").write_text('environment = ["TOKEN"]\n' + text)

    def build(token: str) -> str:
        command = [PROV, "build", "a:go", "a:net"]
        environment = {**os.environ, "TOKEN": token}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert build("one").startswith("2 ran")
    assert build("two").startswith("1 ran")
    assert "TOKEN" not in prov("show", "a:net").stdout.replace("$TOKEN", "")


def test_result_of_a_stale_input_is_not_reused(prov: Prov, tmp_path: Path) -> None:
    def chain(first: str, last: str) -> None:
        write(tmp_path, one_task(f"echo {first} > out/c"), "c")
        write(tmp_path, one_task("cp $RECIPE_SYSROOT/c out/a", "needs = ['c:go']\n"), "a")
        write(
            tmp_path,
            one_task(f"cp $RECIPE_SYSROOT/a out/b; echo {last} >> out/b", "needs = ['a:go']\n"),
            "b",
        )

    chain("c1", "b1")
    prov("build", "b")
    chain("c2", "b2")
    assert "1 ran" in prov("build", "b", "--follow", "never").stdout
    prov("build", "b")
    prov("checkout", "b:go@output", str(tmp_path / "o"))
    assert (tmp_path / "o/out/b").read_text() == "c2\nb2\n"


@pytest.mark.parametrize("sandbox", ["none", pytest.param("bwrap", marks=needs_bubblewrap)])
def test_links_left_by_a_task_are_not_followed(prov: Prov, tmp_path: Path, sandbox: str) -> None:
    victim, outside = tmp_path / "victim", tmp_path / "outside"
    victim.write_text("safe\n")
    outside.mkdir()
    links = f"ln -sf {victim} temp/log.go; ln -sf {victim} temp/run.go; ln -s {outside} way"
    first = f"[tasks.first]\nscript = '{links}'\n"
    write(
        tmp_path,
        one_task("echo owned", "after = ['first']\n") + first,
        settings=f"sandbox = '{sandbox}'\n",
    )
    prov("build", "a")
    assert victim.read_text() == "safe\n"
    assert "safe" not in prov("show", "a:go").stdout.partition("log:")[2]
    write(tmp_path, one_task("true", "after = ['first']\ndir = '${WORKDIR}/way/in'\n") + first)
    answer = " ".join(prov("build", "a", code=1).stdout.split())
    assert "is a symlink to a path outside WORKDIR" in answer
    assert not list(outside.iterdir())


def test_temporary_files_are_not_passed_on(prov: Prov, tmp_path: Path) -> None:
    write(
        tmp_path,
        one_task(
            "test ! -e $HOME/again; test ! -e temp/again; touch $HOME/again temp/again; echo 1 >"
            " out/x"
        ),
    )
    settings = (tmp_path / "prov.toml").read_text()
    (tmp_path / "prov.toml").write_text(settings.replace("sh cat", "sh test cat"))
    prov("build", "a")
    prov("build", "-f", "a:go", "a")


def test_stale_lock_of_a_killed_git_is_removed(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("echo 1 > out/x"))
    prov("init")
    lock = tmp_path / ".prov/refs/heads/builds.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    prov("build", "a")
    assert len(git(tmp_path, "log", "--oneline", "builds").splitlines()) == 1


def test_keep_going_finishes_tasks_independent_of_the_failed_one(
    prov: Prov, tmp_path: Path
) -> None:
    write(tmp_path, one_task("sleep 0.2; exit 1"), "x")
    write(tmp_path, one_task("sleep 0.4; echo d > out/d"), "d")
    write(tmp_path, one_task("sleep 0.4; cp $RECIPE_SYSROOT/d out/e", "needs = ['d:go']\n"), "e")
    write(tmp_path, one_task("true", "needs = ['x:go', 'e:go']\n"), "t")
    done = prov("build", "t", "-k", "-j", "4", code=1)
    assert "e:go ran" in done.stderr
    assert "bug" not in done.stderr
    assert "not built: t:go" in done.stdout
    assert len(git(tmp_path, "log", "--oneline", "builds").splitlines()) == 1


def test_exclude_patterns_are_an_input(prov: Prov, tmp_path: Path) -> None:
    write(tmp_path, one_task("echo 1 > out/a.pyc; echo 2 > out/b"))
    prov("build", "a")
    text = (tmp_path / "prov.toml").read_text()
    (tmp_path / "prov.toml").write_text('exclude = ["*.pyc"]\n' + text)
    assert "1 ran" in prov("build", "a").stdout
    prov("checkout", "a:go@output", str(tmp_path / "o"))
    assert [path.name for path in (tmp_path / "o/out").iterdir()] == ["b"]


def test_first_capture_of_the_host_tools_is_reported(small: Project) -> None:
    small.task("echo 1 > out/x")
    assert "files of host tools" in small.prov("build", "a:go").stderr
    small.edit("recipes/a.toml", "echo 1", "echo 2")
    assert "files of host tools" not in small.prov("build", "a:go").stderr


def test_interrupted_build_is_reported(small: Project) -> None:
    small.edit("prov.toml", 'HOSTTOOLS = "', 'HOSTTOOLS = "sleep ')
    small.task(f"touch {small.root}/started; sleep 20; echo 1 > out/x")
    process = subprocess.Popen(
        [PROV, "build", "a:go"], cwd=small.root, stdout=subprocess.PIPE, text=True
    )
    while not (small.root / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    answer, _ = process.communicate()
    assert process.returncode == 130
    assert "interrupted;" in answer and "nothing to do" not in answer
