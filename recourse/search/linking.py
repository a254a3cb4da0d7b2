"""Numba's compiler with parts: what only kernels call is linked into theirs, and code is made of kernels alone.

Numba optimises each function again in every caller, and makes machine code of all of them; compiling is paid by every
user once, so it counts. This rests on inner parts of Numba, so `jit` uses it only with the releases it was tried with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from llvmlite.binding import Linkage
from numba import types
from numba.core.caching import IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

from .flags import BARE, FLAGS
from .lending import LendingLower, lending, lent_function


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, and keep the machine code for later processes."""
    compiled: Any = numba.njit(cache=True, pipeline_class=_KernelCompiler, **FLAGS)(function)
    if not _is_disabled():
        # Numba looks at the age of this one file, and fails at a class that has gone: so a name for each source text
        files, text = compiled._cache, _digest(function.__module__.rpartition(".")[2])
        name = f"{function.__module__}.{function.__name__}-{text}"
        files._cache_file = IndexDataCacheFile(files.cache_path, name, text)
    return compiled


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call, as a part of theirs."""
    if _is_disabled():
        return function
    return _Inner(function, targetoptions={"nopython": True, **BARE, **FLAGS}, pipeline_class=_PartCompiler)


def _is_disabled() -> bool:
    """Whether the user asked Numba for plain Python (NUMBA_DISABLE_JIT)."""
    return bool(getattr(numba.config, "DISABLE_JIT", 0))


@cache
def _digest(module: str) -> str:
    """Return a name for the text of a module and all those of its folder that it rests on."""
    folder = Path(__file__).parent
    seen, todo = dict[str, bytes](), [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen[name] = (folder / f"{name}.py").read_bytes()
            todo += re.findall(r"^ *from \.(\w+) import", seen[name].decode(), flags=re.MULTILINE)
    return sha256(b"".join(seen[name] for name in sorted(seen))).hexdigest()[:16]


class _Inner(CPUDispatcher):
    """A function compiled once for each set of types; Numba would compile it anew for every constant argument."""

    is_lent = True

    def get_call_template(self, args: Any, kws: Any) -> Any:
        plain = [types.unliteral(arg) for arg in args]
        return super().get_call_template(plain, {name: types.unliteral(arg) for name, arg in kws.items()})

    def add_overload(self, result: Any) -> None:
        self.overloads[tuple(result.signature.args)] = result


class _Part(JITCodeLibrary):
    """LLVM code that is linked into a kernel's, after what it calls, and never becomes machine code itself."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout  # what follows is enough

    def finalize(self) -> None:
        # enough that pairs of reference counts vanish, which later hide loops from the optimiser
        passes, builder = self._codegen._module_pass_manager(opt=1, loop_vectorize=False, slp_vectorize=False)
        passes.run(self._final_module, builder)
        self._finalized = True


class _Whole(JITCodeLibrary):
    """A kernel with all its parts, which nobody else calls: so that one with a single caller is inlined."""

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    _name = "kernel_lowering"
    lowering_class = LendingLower

    def run_pass(self, state: Any) -> bool:
        state.library = _Whole(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    _name = "part_lowering"
    lowering_class = LendingLower

    def run_pass(self, state: Any) -> bool:
        state.flags.no_compile = True
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
        context, state.targetctx = state.targetctx, lending(state.targetctx)
        super().run_pass(state)
        state.targetctx = context
        lowered = state["cr"]
        key = object()  # what callers look the part up by, in place of a compiled function
        call = lent_function(lowered.fndesc, list(dict.fromkeys([state.library, *state.library._linking_libraries])))
        context._defns[key].append(call, call.signature)
        state.reload_init.extend(state.library._reload_init)
        state["cr"] = lowered._replace(cfunc=key)
        return True


def _pipeline(state: Any, lowering: type) -> list[Any]:
    """Return Numba's own passes with another lowering."""
    manager = DefaultPassBuilder.define_nopython_pipeline(state)
    manager.passes = [(lowering if step is NativeLowering else step, text) for step, text in manager.passes]
    manager.finalize()
    return [manager]


class _KernelCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        return _pipeline(self.state, _KernelLowering)


class _PartCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        return _pipeline(self.state, _PartLowering)
