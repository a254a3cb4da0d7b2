"""Named tuples are lent to the parts of kernels: passed as one pointer, and what is read of them is not counted.

Numba passes a named tuple as all its scalars (seven for each array in it), and counts references to each of its arrays
wherever one of its members is named; that was half of the time that it took to compile a search. But whoever calls
keeps what is passed for the whole call, so nothing need be counted; and named tuples never change, so a pointer will
do.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from llvmlite import ir as llvm
from numba import types
from numba.core import cgutils, ir
from numba.core.callconv import CPUCallConv
from numba.core.cpu import CPUContext
from numba.core.datamodel.packer import ArgPacker
from numba.core.imputils import user_function
from numba.core.lowering import Lower


def lending(context: Any) -> Any:
    """Return a target context whose functions are lent their named tuples."""
    lender = object.__new__(_LendingContext)
    lender.__dict__.update(context.__dict__)
    return lender


def lent_function(descriptor: Any, libraries: list[Any]) -> Any:
    """Return what writes the calls of a function that is lent its named tuples."""
    plain = user_function(descriptor, libraries)

    def call(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return plain(lending(context), builder, signature, args)

    call.signature, call.libs = plain.signature, plain.libs  # type: ignore[attr-defined]
    return call


class _LendingCallConv(CPUCallConv):
    def _get_arg_packer(self, argtypes: Any) -> _LendingPacker:
        return _LendingPacker(self.context.data_model_manager, argtypes)

    def decorate_function(self, fn: Any, args: Any, fe_argtypes: Any, noalias: bool = False) -> None:
        super().decorate_function(fn, args, fe_argtypes, noalias)
        for pointer in self._get_arg_packer(fe_argtypes).pointers(self.get_arguments(fn)):
            pointer.add_attribute("noalias")  # nobody writes to it during the call
            pointer.add_attribute("captures(none)")


class _LendingContext(CPUContext):
    @property
    def call_conv(self) -> _LendingCallConv:
        return _LendingCallConv(self)


class _LendingPacker:
    """Numba's packer of arguments, but for named tuples: these are pointers, before and after."""

    def __init__(self, models: Any, argtypes: Any) -> None:
        self._packers = [
            models[kind].get_value_type().as_pointer() if _is_lent(kind) else ArgPacker(models, (kind,))
            for kind in argtypes
        ]

    @property
    def argument_types(self) -> tuple[Any, ...]:
        found: list[Any] = []
        for packer in self._packers:
            found += packer.argument_types if isinstance(packer, ArgPacker) else [packer]
        return tuple(found)

    def as_arguments(self, builder: Any, values: Any) -> list[Any]:
        found: list[Any] = []
        for packer, value in zip(self._packers, values, strict=True):
            if isinstance(packer, ArgPacker):
                found += packer.as_arguments(builder, [value])
            else:
                found.append(value if isinstance(value.type, llvm.PointerType) else _copy(builder, value))
        return found

    def from_arguments(self, builder: Any, args: Any) -> list[Any]:
        return [
            packer.from_arguments(builder, own)[0] if isinstance(packer, ArgPacker) else own[0]
            for packer, own in self._parts(args)
        ]

    def assign_names(self, args: Any, names: Any) -> None:
        for (packer, own), name in zip(self._parts(args), names, strict=True):
            if isinstance(packer, ArgPacker):
                packer.assign_names(own, [name])
            else:
                own[0].name = name

    def pointers(self, args: Any) -> list[Any]:
        """Return the arguments that are named tuples."""
        return [own[0] for packer, own in self._parts(args) if not isinstance(packer, ArgPacker)]

    def _parts(self, args: Any) -> list[tuple[Any, Any]]:
        parts, at = [], 0
        for packer in self._packers:
            size = len(packer.argument_types) if isinstance(packer, ArgPacker) else 1
            parts.append((packer, args[at : at + size]))
            at += size
        return parts


def _copy(builder: Any, value: Any) -> Any:
    """Return the address of a copy of a value."""
    slot = cgutils.alloca_once(builder, value.type)
    builder.store(value, slot)
    return slot


def _is_lent(kind: Any) -> bool:
    return isinstance(kind, types.BaseNamedTuple)


class LendingLower(Lower):
    """Numba's lowering, but for variables that are set once, to an argument or to a member of what is lent itself."""

    def init(self) -> None:
        super().init()
        self._lent = self._find_lent()
        self._address: dict[str, Any] = {}  # of lent variables that are named tuples
        self._slots: dict[int, tuple[Any, Any]] = {}  # copies made to be lent, by the value's id, with the value
        self._is_counting = True
        self._is_lending = False

    def _find_lent(self) -> dict[str, Any]:
        """Return the lent variables, in the order in which they are set, with what they are set to."""
        assigns = [inst for _, block in sorted(self.blocks.items()) for inst in block.find_insts(ir.Assign)]
        times = Counter(inst.target.name for inst in assigns)
        found: dict[str, Any] = {}
        for inst in assigns:
            value, kind = inst.value, self.typeof(inst.target.name)
            if times[inst.target.name] > 1:
                continue
            if isinstance(value, ir.Arg):
                if self.typeof("arg." + value.name) == kind:
                    found[inst.target.name] = value
            elif isinstance(value, ir.Var):
                if value.name in found and self.typeof(value.name) == kind:
                    found[inst.target.name] = value
            elif self._is_member(value) and value.value.name in found and self._member(value)[1] == kind:
                found[inst.target.name] = value
        return found

    def _is_member(self, value: Any) -> bool:
        """Whether something reads a member of a named tuple."""
        if not isinstance(value, ir.Expr) or value.op not in ("getattr", "static_getattr"):
            return False
        kind = self.typeof(value.value.name)
        return _is_lent(kind) and value.attr in kind.fields

    def _member(self, value: Any) -> tuple[int, Any]:
        """Return number and type of the member that is read."""
        kind = self.typeof(value.value.name)
        number = kind.fields.index(value.attr)
        return number, kind[number]

    def pre_lower(self) -> None:
        super().pre_lower()
        for name, value in self._lent.items():
            if not _is_lent(self.typeof(name)):
                continue
            if isinstance(value, ir.Arg):
                given = self.fnargs[value.index]
                self._address[name] = given if isinstance(given.type, llvm.PointerType) else self._slot(given)
            elif isinstance(value, ir.Var):
                self._address[name] = self._address[value.name]
            else:
                whole = self._address[value.value.name]
                self._address[name] = cgutils.gep_inbounds(self.builder, whole, 0, self._member(value)[0])

    def _slot(self, value: Any) -> Any:
        """Return the address of the one copy of a value."""
        if id(value) not in self._slots:
            self._slots[id(value)] = _copy(self.builder, value), value
        return self._slots[id(value)][0]

    def lower_inst(self, inst: Any) -> None:
        name = None
        if isinstance(inst, ir.Assign):
            name = inst.target.name
        elif isinstance(inst, ir.Del):
            name = inst.value
        if name in self._address:
            return  # nothing is kept or counted
        self._is_counting = name not in self._lent
        super().lower_inst(inst)
        self._is_counting = True

    def incref(self, typ: Any, val: Any) -> None:
        if self._is_counting:
            super().incref(typ, val)

    def decref(self, typ: Any, val: Any) -> None:
        if self._is_counting:
            super().decref(typ, val)

    def lower_assign(self, ty: Any, inst: Any) -> Any:
        if self._is_member(inst.value) and self._member(inst.value)[1] == ty:
            whole = self._find_address(inst.value.value.name)
            if whole is not None:
                value = self.builder.load(cgutils.gep_inbounds(self.builder, whole, 0, self._member(inst.value)[0]))
                self.incref(ty, value)
                return value
        return super().lower_assign(ty, inst)

    def _find_address(self, name: str) -> Any:
        """Return where a variable is in memory; None if it is not."""
        if name in self._address:
            return self._address[name]
        return None if name in self._blk_local_varmap else self.getvar(name)

    def loadvar(self, name: str) -> Any:
        return self.builder.load(self._address[name]) if name in self._address else super().loadvar(name)

    def _alloca_var(self, name: str, fetype: Any) -> None:
        if name not in self._address:
            super()._alloca_var(name, fetype)

    def _lower_call_normal(self, fnty: Any, expr: Any, signature: Any) -> Any:
        self._is_lending = isinstance(fnty, types.Dispatcher) and getattr(fnty.dispatcher, "is_lent", False)
        return super()._lower_call_normal(fnty, expr, signature)

    def _cast_var(self, var: Any, ty: Any) -> Any:
        if self._is_lending and _is_lent(ty):
            assert self.typeof(var.name) == ty
            address = self._find_address(var.name)
            return self._slot(self._blk_local_varmap[var.name]) if address is None else address
        return super()._cast_var(var, ty)
