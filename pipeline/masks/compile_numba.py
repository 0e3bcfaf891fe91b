"""Compile functions with numba, with a cache on disk where possible."""

import gc
from collections.abc import Callable
from typing import Any

import numba
from numba.core import types
from numba.extending import intrinsic


def compiled(function: Callable) -> Any:
    """Compile a function that other compiled functions call."""
    return _njit(function, no_cpython_wrapper=True)


def compiled_entry_point(function: Callable) -> Any:
    """Compile a function that `call` calls from Python."""
    return _njit(function, no_cpython_wrapper=False)


def _njit(function: Callable, *, no_cpython_wrapper: bool) -> Any:
    """Apply `numba.njit`, with a cache on disk where a folder is writable: that of its file, or the user's own."""
    options: Any = {"nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": no_cpython_wrapper}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable folder: compile in each process
        return numba.njit(**options)(function)


def call(function: Any, *arguments: Any) -> None:
    """Call a compiled function; pause garbage collection while the first call compiles it, which is faster."""
    paused = not function.signatures and gc.isenabled()
    if paused:
        gc.disable()
    try:
        function(*arguments)
    finally:
        if paused:
            gc.enable()


@intrinsic
def _count_bits(typing_context, word):
    """Count the set bits of a uint64, in one machine instruction."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


popcount: Any = _count_bits
