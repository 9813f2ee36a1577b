"""What BitBake's tasks read, and the advice on their dependencies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.bitbake.staged import Directories, Level, Staged, live, staged_below

pytestmark = [
    pytest.mark.process,
    live,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]

CONF = 'BASE_DEPENDS = "inner"\n'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """A build directory after a first build. Tests must not change it."""
    with staged_below(tmp_path_factory.mktemp("reads")) as make:
        staged = make()
        staged.build("app", "probe", "extra", conf=CONF)
        yield staged


def uses(staged: Staged, key: str) -> dict[str, dict[str, str]]:
    """Return the packages that a task used -> path in WORKDIR -> its uses."""
    answer = staged.json("reads", key)
    workdir = f"{staged.facts(key)['workdir']}/"
    return {
        group["package"] or group["owner"]: {
            row["path"].removeprefix(workdir): ", ".join(row["uses"]) for row in group["paths"]
        }
        for group in answer["groups"]
    }


def findings(staged: Staged, recipe: str) -> dict[str, list[str]]:
    (advice,) = staged.json("advise", recipe)["recipes"]
    return {
        "unused": [own["package"] for own in advice["unused"]],
        "certainty": [own["certainty"] for own in advice["unused"]],
        "floating": [own["provider"] for own in advice["floating"]],
        "transitive": [own["package"] for own in advice["transitive"]],
        "unknown": [own["task"] for own in advice["unknown"]],
    }


def test_reads_are_listed_by_package(built: Staged) -> None:
    include = "recipe-sysroot/usr/include"
    assert uses(built, "probe:do_compile") == {
        "base:do_populate_sysroot": {f"{include}/base/base.h": "opened"},
        "inner:do_populate_sysroot": {f"{include}/inner.h": "opened"},
    }
    found = uses(built, "app:do_compile")
    assert set(found) == {
        *(f"{name}:do_populate_sysroot" for name in ("base", "tool-native", "words-native")),
        "sysroots",
    }
    assert found["tool-native:do_populate_sysroot"] == {
        "recipe-sysroot-native/usr/bin/count": "opened",
        "recipe-sysroot-native/usr/share/tool/text": "opened",
    }


def test_the_list_states_what_is_complete(built: Staged) -> None:
    answer = built.json("reads", "app:do_compile")
    facts = ("complete", "not recorded", "not recorded")
    assert (answer["opens"], answer["probes"], answer["toolchain"]) == facts


def test_installing_sysroots_reads_nothing(built: Staged) -> None:
    """postinst-tool and the tokens in base-config are opened while the sysroots are filled."""
    answer = built.json("reads", "app:do_prepare_recipe_sysroot")
    assert (answer["opens"], answer["groups"]) == ("complete", [])


def test_prov_itself_reads_nothing(built: Staged) -> None:
    """Each task's WORKDIR is captured before and after it."""
    for task in ("do_fetch", "do_configure"):
        assert built.json("reads", f"app:{task}")["groups"] == []
    assert uses(built, "app:do_install") == {"workdir": {"app-0.1/seen": "opened"}}


def test_planted_dependencies_are_named(built: Staged) -> None:
    assert findings(built, "probe") == {
        "unused": ["late-native:do_populate_sysroot"],
        "certainty": ["candidate"],
        "floating": ["extra"],
        "transitive": ["inner:do_populate_sysroot"],
        "unknown": [],
    }
    reason, *lines = built.ask("advise", "probe", "--patch").splitlines()
    assert reason.startswith("# probe:do_compile, probe:do_configure, ")
    assert reason.endswith(" opened none of its files: build without it to confirm")
    assert lines == [
        '# DEPENDS:remove:pn-probe = "late-native"',
        'DEPENDS:append:pn-probe = " inner"',
        "# probe:do_compile: probe-1.0/config.log: header extra.h not found:"
        " declare it, or disable it in PACKAGECONFIG",
        'DEPENDS:append:pn-probe = " extra"',
    ]


def test_blame_lists_the_headers_of_an_object(built: Staged) -> None:
    said = built.ask("blame", "probe:do_compile@workdir/probe-1.0/probe.o")
    include = "recipe-sysroot/usr/include"
    assert f"{include}/base/base.h  from base:do_populate_sysroot" in said
    assert f"{include}/inner.h  from inner:do_populate_sysroot" in said


def test_used_dependencies_are_not_named(built: Staged) -> None:
    assert set(map(tuple, findings(built, "app").values())) == {()}


def test_prov_composed_sysroots_are_watched_too(staged: Directories) -> None:
    made = staged(level=Level.SYSROOTS)
    made.build("probe", conf=CONF)
    assert set(uses(made, "probe:do_compile")) == {
        *(f"{name}:do_populate_sysroot" for name in ("base", "inner")),
    }
    assert made.json("reads", "probe:do_compile")["opens"] == "complete"


def test_sysroots_that_grow_before_a_task_runs(staged: Directories) -> None:
    """do_check extends the sysroots after it has begun, by folders that it then lists."""
    made = staged()
    depends = 'APP_CHECK_DEPENDS = "late-native:do_populate_sysroot"'
    made.build()
    made.build("-c", "check", "app", conf=depends)
    answer = made.json("reads", "app:do_check")
    assert answer["opens"] == "complete"
    listed = {row["path"] for group in answer["groups"] for row in group["paths"]}
    assert f"{made.native_sysroot()}/usr/share" in listed


def test_tasks_that_overlap_share_their_opens(staged: Directories) -> None:
    made = staged()
    recipe = made.root / "meta-staged/recipes/reads/probe_1.0.bb"
    header = "${RECIPE_SYSROOT}${includedir}/inner.h"
    for name in ("one", "two"):
        recipe.write_text(
            f"{recipe.read_text()}\naddtask {name} after do_configure before do_compile\n"
            f"do_{name}[dirs] = '${{WORKDIR}}/{name}'\ndo_{name}() {{\n"
            f"    : > ${{WORKDIR}}/began-{name}\n"
            "    while [ ! -e ${WORKDIR}/began-one ] || [ ! -e ${WORKDIR}/began-two ]; do\n"
            f"        sleep 0.05\n    done\n    cat {header}\n    sleep 0.3\n}}\n"
        )
    made.build("probe", conf=CONF)
    for name, other in (("one", "two"), ("two", "one")):
        answer = made.json("reads", f"probe:do_{name}")
        assert answer["opens"].startswith("incomplete outside the sysroots: ")
        assert f"probe:do_{other}" in answer["opens"]
        rows = uses(made, f"probe:do_{name}")["inner:do_populate_sysroot"]
        assert rows == {"recipe-sysroot/usr/include/inner.h": "shared, opened"}
    assert findings(made, "probe")["unused"] == ["late-native:do_populate_sysroot"]
