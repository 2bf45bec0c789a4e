"""Nothing public is left out of the table, but what is listed here with its reason."""

import inspect
from enum import Enum
from importlib import import_module

import pytest
from hostile_known import TABLES, known

ROOMS = [
    "numq", *(f"numq.{room}" for room in (
        "autograd", "nn", "optim", "data", "mixed", "qat", "graph", "flows", "integer", "kernels",
        "plot", "bench", "rules", "scales",
    )),
]  # fmt: skip
WITHOUT_ARGUMENTS = {
    "PerTensor", "PerToken", "available", "get_threads", "jit_enabled", "uses_kernels", "no_grad",
}  # fmt: skip
RESULTS = {"Digits", "Epoch", "ErrorReport", "LayerError", "Report"}  # given, never taken
PREPARED = {  # made by `prepare…` and `pack_…`, which are in the table
    "PackedConvWeight", "PackedWeight", "Plan", "Prepared", "Add", "Average",
    "Concat", "Conv2d", "Linear", "Table", "DynamicLinear", "WeightOnlyLinear",
    "PreparedConv", "PreparedProduct",
}  # fmt: skip
FROM_INSIDE = {  # for operators and layers of one's own, documented as unchecked or as a base
    "Attribute", "Optimizer", "Schema", "exact_offset", "exact_scale", "record",
    "scale_and_zero_point", "scale_dtype", "spread_of", "store_scale", "zero_points",
}  # fmt: skip
# Their own tests are beside the table, and in tests/plot/test_sliders.py.
ELSEWHERE = {"load_digits", "main", "slide"}


def public(room):
    """Names of the functions and classes of a room."""
    module = import_module(room)
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == room
    ]  # fmt: skip
    for name in names:
        value = getattr(module, name)
        kind = inspect.isclass(value) and issubclass(value, Enum | Exception)
        if (inspect.isfunction(value) or inspect.isclass(value)) and not kind:
            yield name, value


@pytest.fixture(scope="module")
def cases():
    return [case for table in TABLES for case in import_module(f"test_hostile_{table}").CASES]


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_callable_is_in_the_table(room, cases):
    called = {inspect.unwrap(case.function) for case in cases}
    titles = " ".join(case.name for case in cases)
    elsewhere = WITHOUT_ARGUMENTS | RESULTS | PREPARED | FROM_INSIDE | ELSEWHERE
    missing = [
        name for name, value in public(room)
        if value not in called and name not in titles and name not in elsewhere
    ]  # fmt: skip
    assert missing == []


def test_the_table_is_large(cases):
    assert sum(len(case.bads(argument)) for case in cases for argument in case.arguments) > 10_000
    assert len({case.name for case in cases}) == len(cases)


def test_nothing_is_known_to_be_wrong():
    """While something is being mended its calls stand in a file; an empty one is what is landed."""
    assert known() == {}
