"""What numq takes from inside Numba: in one file, and refused with the remedy where it is gone."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from numq.kernels.machine import numba_private
from numq.kernels.machine.numba_private import TESTED, inside, stamp_cache

ROOT = Path(__file__).parents[2]
PUBLIC = {"numba", "numba.extending"}
REMEDY = re.escape(f'; allowed is {TESTED}: pip install "{TESTED}"')


def test_a_numba_without_a_name_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the import of numq's file, as with a release that has moved the name."""
    import numba.core.compiler_lock  # the module of the name

    monkeypatch.delattr(numba.core.compiler_lock, "global_compiler_lock")
    came = re.escape(f"numba is {numba.__version__}, which has no ")
    with pytest.raises(
        ImportError, match=f"^{came}numba.core.compiler_lock.global_compiler_lock{REMEDY}$"
    ):
        runpy.run_path(numba_private.__file__)
    with pytest.raises(ImportError, match=f"has no numba.not_there.name{REMEDY}"):
        inside("numba.not_there", "name")


def test_a_cache_that_cannot_be_stamped_is_no_silent_one() -> None:
    """Without the stamp an edited kernel would load stale code."""
    with pytest.raises(ImportError, match=f"has no SimpleNamespace._cache._cache_file{REMEDY}"):
        stamp_cache(SimpleNamespace(_cache=SimpleNamespace()), ())


def test_no_other_file_knows_the_inside_of_numba() -> None:
    for file in (ROOT / "numq").rglob("*.py"):
        if file != Path(numba_private.__file__):
            found = re.findall(r"^\s*(?:from|import) (numba\b[\w.]*)", file.read_text(), re.M)
            assert set(found) <= PUBLIC, file


def test_the_requirement_begins_with_the_oldest_release_that_is_installed_for_tests() -> None:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (oldest,) = (need for need in needs if need.startswith("numba"))
    assert TESTED.startswith(f"{oldest},<")
