"""The share of mutants that the tests kill, file by file: `pytest -m slow tests/mutation`."""

import subprocess
import sys
from pathlib import Path

import pytest
from kill import TESTS, equals
from mutants import ROOT

SCRIPT = Path(__file__).with_name("kill.py")


@pytest.mark.slow
@pytest.mark.parametrize("path", TESTS)
def test_of_twenty_mutants_nineteen_are_killed(path):
    pytest.importorskip("cosmic_ray", reason="Cosmic Ray makes the mutants")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), path], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_files_and_tests_exist_and_equals_have_reasons():
    for path, tests in TESTS.items():
        assert (ROOT / path).is_file()
        for test in tests:
            assert (ROOT / "tests" / test).is_file()
    for key in equals():
        path, old, _ = key.split(" @@ ")
        lines = [line.strip() for line in (ROOT / path).read_text().splitlines()]
        assert old in " ".join(lines), key
