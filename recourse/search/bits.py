"""Single machine instructions on 64-bit words."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import inner


@intrinsic
def _cttz(typingctx: Any, word: Any) -> Any:
    """Count trailing zeros (64 for a zero word)."""
    if not isinstance(word, types.Integer):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.zext(args[0], ir.IntType(64)) if args[0].type.width < 64 else args[0]
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.IntType(64), (ir.IntType(64), ir.IntType(1))),
            "llvm.cttz.i64",
        )
        return builder.call(function, (value, ir.Constant(ir.IntType(1), 0)))

    return types.int64(types.uint64), codegen


@intrinsic
def _ctpop(typingctx: Any, word: Any) -> Any:
    """Count the set bits."""
    if not isinstance(word, types.Integer):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(64), (ir.IntType(64),)), "llvm.ctpop.i64"
        )
        return builder.call(function, (args[0],))

    return types.int64(types.uint64), codegen


@inner
def count_bits(word: np.uint64) -> int:
    """Return the number of set bits."""
    return _ctpop(word)


@inner
def first_bit(word: np.uint64) -> int:
    """Index of the lowest set bit; 64 when there is none."""
    return _cttz(word)


if getattr(numba.config, "DISABLE_JIT", 0):  # single instructions have no Python behind them

    def count_bits(word: np.uint64) -> int:
        return int(word).bit_count()

    def first_bit(word: np.uint64) -> int:
        return (int(word) & -int(word)).bit_length() - 1 if word else 64
