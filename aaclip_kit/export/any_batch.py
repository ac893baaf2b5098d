"""A traced module for any number of images, though its code counts them: traced with two and with three.

Python's `len` of a tensor is a number and no symbol, so a trace holds the number of images wherever code asks for it.
Where two traces differ in their numbers alone, each such number is so many times the number of images and so many more.
"""

import operator
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from ..contracts.errors import UserError

_FEW, _MORE = 2, 3
"""Numbers of images of the two traces; of 1, torch makes a case of its own."""

_CHECKS: Final = (torch.ops.aten._assert_tensor_metadata.default,)
"""What a trace holds and no program needs."""


def for_any_batch(module: nn.Module, side: int) -> fx.GraphModule:
    """Return what `module` does to images `[B, 3, S, S]` as a graph for any B. Raises `UserError` where none is found.

    What the module's own code raises while it is traced is left as it is.
    """
    few, more = (_traced(module, side, images) for images in (_FEW, _MORE))
    pairs = list(zip(few.graph.nodes, more.graph.nodes, strict=False))
    if len(few.graph.nodes) != len(more.graph.nodes) or any(not _alike(one, other) for one, other in pairs):
        raise _depends_on_batch(next((one for one, other in pairs if not _alike(one, other)), None))
    counts = _Counts(few)
    for one, other in pairs:
        if one.op == "get_attr":
            counts.spread(one, _attribute(few, one), _attribute(more, other))
        else:
            one.args = counts.of(one, one.args, other.args)
            one.kwargs = counts.of(one, one.kwargs, other.kwargs)
    return fx.GraphModule(few, few.graph)  # without the hook that looks at the number of images


def _traced(module: nn.Module, side: int, images: int) -> fx.GraphModule:
    """A flat graph of so many images."""
    # Of noise: between values that are all alike a model might decide otherwise.
    noise = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(module, (noise,), strict=False)
    graph: Any = program.module(check_guards=False)
    _inline_autocast(graph)
    for node in [node for node in graph.graph.nodes if node.target in _CHECKS]:
        graph.graph.erase_node(node)
    return graph


def _inline_autocast(module: fx.GraphModule) -> None:
    """Take the contexts of autocast away, which change nothing where all is in float32; what is in them stays."""
    contexts = [node for node in module.graph.nodes if node.target is torch.ops.higher_order.wrap_with_autocast]
    for node in contexts:
        inner = _attribute(module, node.args[4])
        _inline_autocast(inner)
        given = dict(zip((one for one in inner.graph.nodes if one.op == "placeholder"), node.args[5:], strict=True))
        with module.graph.inserting_before(node):
            made = module.graph.graph_copy(inner.graph, given)
        made = made if isinstance(made, list | tuple) else [made]
        for user in list(node.users):
            user.replace_all_uses_with(made[user.args[1]])
            module.graph.erase_node(user)
        module.graph.erase_node(node)
    # Not `eliminate_dead_code`, which takes away what is written in place.
    for unused in [node for node in module.graph.nodes if node.op == "get_attr" and not node.users]:
        module.graph.erase_node(unused)


def _alike(one: fx.Node, other: fx.Node) -> bool:
    return one.op == other.op and (one.op != "call_function" or one.target == other.target)


def _attribute(module: nn.Module, node: Any) -> Any:
    return operator.attrgetter(str(node.target))(module)


class _Counts:
    """Puts the number of images of a graph in the place of the numbers that two traces differ in."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.graph = module.graph
        (images,) = (node for node in self.graph.nodes if node.op == "placeholder")
        with self.graph.inserting_after(images):
            self.batch = self.graph.call_function(torch.ops.aten.sym_size.int, (images, 0))
        self._made: dict[tuple[int, int], fx.Node] = {(1, 0): self.batch}
        self._last = self.batch

    def of(self, node: fx.Node, few: Any, more: Any) -> Any:
        """The arguments of a node by those of both traces."""
        if isinstance(few, tuple | list) and len(few) == len(more):
            return type(few)([self.of(node, *pair) for pair in zip(few, more, strict=True)])
        if isinstance(few, dict) and few.keys() == more.keys():
            return {key: self.of(node, few[key], more[key]) for key in few}
        if isinstance(few, fx.Node) or few == more:
            return few
        if type(few) is int and type(more) is int and more > few:
            times = (more - few) // (_MORE - _FEW)
            return self._number(times, few - times * _FEW)
        raise _depends_on_batch(node)

    def _number(self, times: int, plus: int) -> fx.Node:
        if (times, plus) not in self._made:
            with self.graph.inserting_after(self._last):
                node = self.graph.call_function(operator.mul, (self.batch, times))
            with self.graph.inserting_after(node):
                node = self.graph.call_function(operator.add, (node, plus))
            self._made[times, plus] = self._last = node
        return self._made[times, plus]

    def spread(self, node: fx.Node, few: Any, more: Any) -> None:
        """Give a constant that has a row an image as many rows as there are images, where all are the same."""
        if not isinstance(few, Tensor) or few.shape == more.shape:
            return
        axes = [axis for axis, sizes in enumerate(zip(few.shape, more.shape, strict=False)) if len(set(sizes)) > 1]
        if len(axes) != 1 or few.shape[axes[0]] != _FEW or not _same_rows(few, axes[0]):
            raise _depends_on_batch(node)
        (axis,) = axes
        with self.graph.inserting_after(self._last):
            row = self.graph.call_function(torch.ops.aten.slice.Tensor, (node, axis, 0, 1))
        sizes: Sequence[Any] = [self.batch if at == axis else -1 for at in range(few.ndim)]
        with self.graph.inserting_after(row):
            rows = self.graph.call_function(torch.ops.aten.expand.default, (row, sizes))
        self._last = rows
        node.replace_all_uses_with(rows, delete_user_cb=lambda user: user is not row)


def _same_rows(constant: Tensor, axis: int) -> bool:
    first = constant.narrow(axis, 0, 1)
    return bool((constant == first).all())


def _depends_on_batch(node: fx.Node | None) -> UserError:
    place = "" if node is None else f": {node.target} in\n{node.meta.get('stack_trace', '').strip()[-400:]}"
    problem = f"what it computes of an image depends on how many images there are{place}"
    return UserError(problem, where="export", fix="leave that component out, or run the model with aakit predict")
