"""C++ loops over a layer's entries, made from traced arithmetic on its tensors.

What is traced stays the only place where that arithmetic is written down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

ENTRIES = 11
"""Entries of the layer that is traced; any number that no other dimension has."""
_NUMBERS = {torch.float32: "float", torch.float64: "double"}
_SAME = {
    "alias": 0, "clone": 0, "copy": 1, "expand_copy": 0, "unsqueeze_copy": 0, "view_copy": 0,
    "_to_copy": 0,
}  # fmt: skip
"""Operations that leave numbers as they are: those of which of their arguments."""
_FORMS = {
    "abs": "std::abs({0})",
    "add": "{0} + {alpha} * {1}",
    "addcmul": "{0} + {value} * {1} * {2}",
    "clamp": "({0} < {1} ? {1} : {0})",
    "div": "{0} / {1}",
    "gt": "T({0} > {1})",
    # As torch has it, which is exact at both ends.
    "lerp": "({2} < T(0.5) ? {0} + {2} * ({1} - {0}) : {1} - ({1} - {0}) * (T(1) - {2}))",
    "maximum": "({0} != {0} || {0} > {1} ? {0} : {1})",
    "mul": "{0} * {1}",
    "ne": "T({0} != {1})",
    "rsub": "{1} - {alpha} * {0}",
    "sqrt": "std::sqrt({0})",
    "sub": "{0} - {alpha} * {1}",
    "where": "({0} != T(0) ? {1} : {2})",
}


class UntranslatedError(Exception):
    """The traced arithmetic holds what no loop is known for."""


def layer_loop(name: str, function: Callable[..., Any], given: Sequence[Tensor]) -> str:
    """Return C++ of `function` of tensors like `given`, for a layer of any size.

    Those of shape `[1, ENTRIES]` hold a number for each entry, all others a few for the layer.
    The C++ function `name` takes the layer's size, a pointer for each of `given`, where it changes
    what `function` changes in place, and one for the `[1, 1, R]` that `function` returns, if any.

    Raises:
        UntranslatedError: an operation is not known, or a sum is needed entry by entry.
    """
    with torch.no_grad():
        traced = make_fx(functionalize(function, remove="mutations_and_views"))(
            *[own.clone() for own in given]
        )
    traced.graph.eliminate_dead_code()
    return _Loop(given[0].dtype).code(name, traced.graph)


class _Loop:
    """The statements of one function: before, in and after its only loop.

    What a node of the graph stands for is the name of a C++ variable, or a list of them.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._before: list[str] = []
        self._within: list[str] = []
        self._stored: list[str] = []
        self._after: list[str] = []
        self._sums: list[str] = []
        self._late: set[str] = set()
        self._places: dict[fx.Node, str] = {}
        self._values: dict[fx.Node, Any] = {}

    def code(self, name: str, graph: fx.Graph) -> str:
        for node in graph.nodes:
            if node.op == "placeholder":
                self._place(node)
            elif node.op == "output":
                self._return(node)
            else:
                self._values[node] = self._value(node)
        reduction = f" reduction(+ : {', '.join(self._sums)})" if self._sums else ""
        lines = [
            "#include <cmath>",
            "#include <cstdint>",
            f"typedef {_NUMBERS[self._dtype]} T;",
            f'extern "C" void {name}(int64_t size, T* const* at, T* result) {{',
            *self._before,
            *(f"  T {own} = 0;" for own in self._sums),
            f"#pragma omp simd{reduction}",
            "  for (int64_t i = 0; i < size; ++i) {",
            *self._within,
            *self._stored,
            "  }",
            *self._after,
            "}",
        ]
        return "\n".join(lines)

    def _place(self, node: fx.Node) -> None:
        index = len(self._places)
        self._places[node] = f"at{index}"
        if not node.users:
            return
        self._before.append(f"  T* __restrict at{index} = at[{index}];")
        if _is_entries(node):
            self._values[node] = self._entry(node, f"at{index}[i]")
        elif node.meta["val"].numel() == 1:
            self._values[node] = self._scalar(node, f"at{index}[0]")

    def _value(self, node: fx.Node) -> Any:
        """Add what computes a node; return what it stands for."""
        kind = _operation(node)
        arguments: list[Any] = [self._argument(own) for own in node.args]
        if kind == "split_with_sizes_copy":
            return [arguments[0]]
        if node.meta["val"].dtype not in (self._dtype, torch.bool):
            raise UntranslatedError(f"{node.target} of another kind of numbers")
        if kind in _SAME:
            return arguments[_SAME[kind]]
        if kind == "getitem":
            return arguments[0][int(arguments[1])]
        if kind == "stack":
            return arguments[0][0] if len(arguments[0]) == 1 else arguments[0]
        if kind == "slice_copy":
            return self._sliced(node)
        if kind == "zeros_like":
            return _literal(0)
        if kind == "copy_":
            return self._store(node, arguments[1])
        if kind == "sum":
            return self._sum(node, arguments[0])
        text = _formed(node, kind, arguments)
        own = self._entry if _is_entries(node) else self._scalar
        return own(node, text, arguments)

    def _entry(self, node: fx.Node, text: str, arguments: Sequence[Any] = ()) -> str:
        if self._is_late(arguments):
            raise UntranslatedError(f"{node.target} of a sum")
        self._within.append(f"    const T {_name(node)} = {text};")
        return _name(node)

    def _scalar(self, node: fx.Node, text: str, arguments: Sequence[Any] = ()) -> str:
        name = _name(node)
        late = self._is_late(arguments)
        (self._after if late else self._before).append(f"  const T {name} = {text};")
        if late:
            self._late.add(name)
        return name

    def _sum(self, node: fx.Node, summed: str) -> str:
        name = _name(node)
        if not _is_entries(node.args[0]):
            raise UntranslatedError(f"{node.target} of no entries")
        self._sums.append(name)
        self._late.add(name)
        self._within.append(f"    {name} += {summed};")
        return name

    def _sliced(self, node: fx.Node) -> str:
        given: Any = node.args
        source, dim, start = given[:3]
        if source not in self._places or dim != 1 or node.meta["val"].numel() != 1:
            raise UntranslatedError(str(node.target))
        return self._scalar(node, f"{self._places[source]}[{start}]")

    def _store(self, node: fx.Node, value: str) -> None:
        target: Any = node.args[0]
        if _is_entries(target):
            self._stored.append(f"    {self._places[target]}[i] = {value};")
        else:
            self._after.append(f"  {self._places[target]}[0] = {value};")

    def _return(self, node: fx.Node) -> None:
        returned: Any = node.args[0]
        for index, own in enumerate(self._values[returned] if returned else ()):
            self._after.append(f"  result[{index}] = {own};")

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self._values.get(value)
        return [self._argument(own) for own in value] if isinstance(value, list) else value

    def _is_late(self, arguments: Sequence[Any]) -> bool:
        return any(own in self._late for own in arguments if isinstance(own, str))


def _formed(node: fx.Node, kind: str, arguments: Sequence[Any]) -> str:
    """Return the operation on its arguments; raise UntranslatedError if it is asked for more."""
    form = _FORMS.get(kind, "")
    fields = sum(f"{{{index}}}" in form for index in range(len(arguments)))
    strange = node.kwargs.keys() - {"alpha", "value"}
    if not form or fields != len(arguments) or strange:
        raise UntranslatedError(str(node.target))
    named = {key: _literal(node.kwargs.get(key, 1)) for key in ("alpha", "value")}
    return form.format(*map(_written, arguments), **named)


def _name(node: fx.Node) -> str:
    return f"v_{node.name}"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else _literal(value)


def _literal(value: Any) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UntranslatedError(f"the number {value}")
    return f"T({float(value)!r})"


def _is_entries(node: Any) -> bool:
    return tuple(node.meta["val"].shape) == (1, ENTRIES)


def _operation(node: fx.Node) -> str:
    target: Any = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet))
