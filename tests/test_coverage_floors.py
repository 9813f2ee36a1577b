from __future__ import annotations

import pytest

from tests.coverage_floors import FLOORS, Lines, below, measured


def report(lines: int, covered: int) -> dict[str, dict[str, int]]:
    return {"summary": {"num_statements": lines, "covered_lines": covered}}


def test_a_package_has_the_lines_of_its_modules() -> None:
    packages = measured(
        {
            "prov/store/refs.py": report(10, 5),
            "prov/store/odb.py": report(30, 25),
            "prov/text.py": report(4, 4),
            "cli/log.py": report(8, 0),
            "prov/bitbake/layer/lib/provlayer/wire.py": report(9, 0),
        }
    )
    assert {name: lines.percent for name, lines in packages.items()} == {
        "prov.store": 75,
        "prov": 100,
        "cli": 0,
    }


@pytest.mark.parametrize("package", FLOORS)
def test_a_package_below_its_floor_is_named(package: str) -> None:
    packages = {name: Lines(100, 100) for name in FLOORS} | {package: Lines(100, 1)}
    (line,) = below(packages)
    assert line.startswith(f"{package}: 1.0%")


def test_a_package_that_is_not_measured_is_below_its_floor() -> None:
    assert len(below({})) == len(FLOORS)
