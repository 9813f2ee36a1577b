"""Advice on BitBake's recipes, from records as the writer makes them."""

from __future__ import annotations

import pytest

from prov.dependencies.findings import Certainty
from prov.dependencies.openembedded import (
    OpenEmbeddedAdvisor,
    configuration_of,
    is_bitbakes,
)
from prov.errors import NameUnknown
from prov.reads.reads import COMPLETE, NOT_RECORDED, Read, Reads
from prov.records.entries import SYSROOT_OF
from prov.store.repository import Store
from tests.dependencies.story import add_entries, add_reads
from tests.history.recorded import BEGAN, Recorded, Recorder

WORKDIR = "/build/tmp/work/core2/app/1.0"
LOG = "configure:1: checking for floating.h\nconfigure:1: result: no\n"
LOG += "configure:2: checking for above.h\nconfigure:2: result: no\n"


def stage(recorder: Recorder, name: str, *needs: str) -> Recorded:
    """Record the task with which a recipe stages a header."""
    files = {f"sysroot-destdir/usr/include/{name}.h": name}
    facts = {"bitbake-taskhash": f"hash-{name}", "workdir": f"/build/tmp/work/core2/{name}/1.0"}
    edges = {"needs": {f"{need}:do_populate_sysroot": "ab" * 32 for need in needs}}
    return recorder.run(
        f"{name}:do_populate_sysroot", {"script": name}, files, edges=edges, facts=facts
    )


@pytest.fixture
def recorded(store: Store) -> Store:
    recorder = Recorder(store, BEGAN)
    staged = [stage(recorder, name) for name in ("unused", "brought", "floating")]
    staged.append(stage(recorder, "used", "brought"))
    staged.append(stage(recorder, "above", "app"))
    edges = {"needs": {f"{own}:do_populate_sysroot": "ab" * 32 for own in ("used", "unused")}}
    configure = recorder.run(
        "app:do_configure",
        {"script": "./configure"},
        {"build/config.log": LOG},
        edges=edges,
        facts={"workdir": WORKDIR, "bitbake-taskhash": "hash-app"},
    )
    recorder.build(*staged, configure, facts={"builder": "bitbake"})
    rows = "used hash-used\nunused hash-unused\nbrought hash-brought\n../x hash\n"
    add_entries(store, "app:do_configure", {SYSROOT_OF: rows.encode()})
    return store


def test_what_a_configure_script_did_not_find_is_floating(recorded: Store) -> None:
    assert is_bitbakes(recorded)
    advice = OpenEmbeddedAdvisor(recorded).advice("app")
    assert [(own.provider, own.evidence, own.is_cyclic) for own in advice.floating] == [
        ("above", ("app:do_configure: build/config.log: header above.h not found",), True),
        ("floating", ("app:do_configure: build/config.log: header floating.h not found",), False),
    ]
    assert advice.unused == ()
    assert [own.task for own in advice.unknown] == ["app:do_configure"]
    assert configuration_of(advice).splitlines()[-1] == 'DEPENDS:append:pn-app = " floating"'


def test_unused_and_transitive_dependencies_need_reads(recorded: Store) -> None:
    include = f"{WORKDIR}/recipe-sysroot/usr/include"
    rows = [Read(f"{include}/used.h", "o"), Read(f"{include}/brought.h", "o")]
    add_reads(recorded, "app:do_configure", Reads.of(rows, COMPLETE, COMPLETE))
    advice = OpenEmbeddedAdvisor(recorded).advice("app")
    assert [own.package.recipe for own in advice.unused] == ["unused"]
    assert [own.package.recipe for own in advice.transitive] == ["brought"]
    lines = configuration_of(advice).splitlines()
    assert lines[:2] == [
        'DEPENDS:remove:pn-app = "unused"',
        'DEPENDS:append:pn-app = " brought"',
    ]


def test_without_traces_there_are_only_candidates(recorded: Store) -> None:
    include = f"{WORKDIR}/recipe-sysroot/usr/include"
    rows = [Read(f"{include}/used.h", "o"), Read(include, "d")]
    add_reads(recorded, "app:do_configure", Reads.of(rows, COMPLETE, NOT_RECORDED))
    advice = OpenEmbeddedAdvisor(recorded).advice("app")
    (unused,) = advice.unused
    reason = "app:do_configure opened none of its files"
    assert (unused.package.recipe, unused.certainty) == ("unused", Certainty.CANDIDATE)
    assert unused.reason == reason
    assert configuration_of(advice).splitlines()[:2] == [
        f"# {reason}: build without it to confirm",
        '# DEPENDS:remove:pn-app = "unused"',
    ]


@pytest.mark.parametrize("name", ["pseudo-native", "mc.two.pseudo-native"])
def test_pseudo_is_used_outside_the_sysroots(store: Store, name: str) -> None:
    recorder = Recorder(store, BEGAN)
    edges = {"needs": {f"{name}:do_populate_sysroot": "ab" * 32}}
    facts = {"workdir": WORKDIR, "bitbake-taskhash": "hash-app"}
    configure = recorder.run("app:do_configure", {"script": ""}, {}, edges=edges, facts=facts)
    recorder.build(stage(recorder, name), configure, facts={"builder": "bitbake"})
    add_entries(store, "app:do_configure", {SYSROOT_OF: f"{name} hash-{name}\n".encode()})
    add_reads(store, "app:do_configure", Reads.of([], COMPLETE, NOT_RECORDED))
    assert OpenEmbeddedAdvisor(store).advice("app").unused == ()


def test_a_package_is_transitive_only_if_a_recorded_dependency_explains_it(
    recorded: Store,
) -> None:
    """BitBake's hashes lack some dependencies, for example quilt-native of do_patch."""
    rows = "used hash-used\nfloating hash-floating\n"
    add_entries(recorded, "app:do_configure", {SYSROOT_OF: rows.encode()})
    read = Read(f"{WORKDIR}/recipe-sysroot/usr/include/floating.h", "o")
    add_reads(recorded, "app:do_configure", Reads.of([read], COMPLETE, NOT_RECORDED))
    assert OpenEmbeddedAdvisor(recorded).advice("app").transitive == ()


def test_a_package_without_recorded_files_may_be_used(recorded: Store) -> None:
    rows = "used hash-used\nunused restored\n"
    add_entries(recorded, "app:do_configure", {SYSROOT_OF: rows.encode()})
    add_reads(recorded, "app:do_configure", Reads.of([], COMPLETE, NOT_RECORDED))
    unused = OpenEmbeddedAdvisor(recorded).advice("app").unused
    assert [own.package.recipe for own in unused] == ["used"]


def test_a_recipe_without_a_build(recorded: Store) -> None:
    with pytest.raises(NameUnknown, match="no build of none is recorded"):
        OpenEmbeddedAdvisor(recorded).advice("none")


def test_an_empty_store(store: Store) -> None:
    assert not is_bitbakes(store)
    assert OpenEmbeddedAdvisor(store).recipes() == []
