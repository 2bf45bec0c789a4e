"""Everything that numq takes from inside Numba, which promises none of it to anybody.

What is documented (`njit`, `prange`, `types`, `extending.intrinsic`) is imported where it is used;
the rest goes through here. No version is compared: a release that keeps these names works, and one
that has dropped a name is refused with the remedy, before code is compiled that would go wrong.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

import numba
from numba import types

TESTED = "numba>=0.61,<0.69"  #: the releases that numq's tests have passed with


def inside(owner: Any, path: str) -> Any:
    """The attribute of ``owner`` that the dotted ``path`` leads to; of a module given by its name.

    Raises:
        ImportError: this release of Numba has no such name.
    """
    try:
        return attrgetter(path)(import_module(owner) if isinstance(owner, str) else owner)
    except (AttributeError, ModuleNotFoundError) as error:
        name = f"{owner if isinstance(owner, str) else type(owner).__name__}.{path}"
        came = f"numba is {numba.__version__}, which has no {name}"
        raise ImportError(f'{came}; allowed is {TESTED}: pip install "{TESTED}"') from error


config: Any = inside("numba", "core.config")  # its values are set at run time
compiler_lock: Any = inside("numba.core.compiler_lock", "global_compiler_lock")  #: re-entrant
RequireLiteralValue: Any = inside("numba.core.errors", "RequireLiteralValue")
to_fixed_tuple: Any = inside("numba.np.unsafe.ndarray", "to_fixed_tuple")


def host_cpu_features() -> str:
    """The features of this machine's processor as LLVM writes them: ``+avx2,-avx512f,...``."""
    features: str = inside("numba.core.codegen", "get_host_cpu_features")()  # loads the compiler
    return features


def compile_for(dispatcher: Any, arguments: tuple[Any, ...]) -> None:
    """Compile for these argument types, and never for others."""
    inside(dispatcher, "compile")(arguments)
    inside(dispatcher, "disable_compile")()


def address_of(dispatcher: Any) -> int:
    """Where the machine code of the one signature of ``dispatcher`` begins."""
    (overload,) = inside(dispatcher, "overloads").values()
    name = inside(overload, "fndesc.llvm_func_name")
    address: int = inside(overload, "library.get_pointer_to_function")(name)
    return address


def tuple_of(kinds: Sequence[Any]) -> Any:
    """The type of a tuple of values of these types."""
    return inside(types, "BaseTuple.from_types")(tuple(kinds))


def call_at(context: Any, b: Any, address: Any, kinds: Sequence[Any], values: Sequence[Any]) -> Any:
    """Inside an intrinsic: call compiled code that returns nothing; its exception is passed on."""
    convention = inside(context, "call_conv")
    function = inside(convention, "get_function_type")(types.none, kinds)
    callee = b.inttoptr(address, function.as_pointer())
    call = inside(convention, "call_function")
    status, _ = call(b, callee, types.none, kinds, values)
    with inside("numba.core.cgutils", "if_unlikely")(b, status.is_error):
        inside(convention, "return_status_propagate")(b, status)
    return context.get_dummy_value()


Method = Callable[..., Any]


def cache_folder(dispatcher: Any) -> str:
    """Where the compiled code of ``dispatcher`` is kept."""
    folder: str = inside(dispatcher, "_cache.cache_path")
    return folder


def stamp_cache(dispatcher: Any, stamp: object) -> None:
    """Let kept code count as stale when ``stamp`` is another one, too."""
    index = inside(dispatcher, "_cache._cache_file")
    index._source_stamp = (inside(index, "_source_stamp"), stamp)


def wrap_cache(
    dispatcher: Any, load: Callable[[Method], Method], save: Callable[[Method], Method]
) -> None:
    """Put ``load`` and ``save`` around the cache's own methods."""
    cache = inside(dispatcher, "_cache")
    for name, around in (("load_overload", load), ("save_overload", save)):
        setattr(cache, name, around(inside(cache, name)))
