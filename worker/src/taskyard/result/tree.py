"""The tree of results: what a task sent, and what those sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.errors import IncompleteStream

if TYPE_CHECKING:
    from taskyard.result.graph import DependencyGraph


class Tree:
    """Mixed into AsyncResult, whose `children` it follows."""

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Each result of the tree that this task sent, with its value, as they come: (result, value)."""
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**options)

    def get_leaf(self) -> Any:
        """The value of the last result of the tree."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """(parent, result) of the whole tree; IncompleteStream at what is not ready unless `intermediate`."""
        waiting: deque[tuple[Any, Any]] = deque([(None, self)])
        while waiting:
            parent, node = waiting.popleft()
            yield parent, node
            if node.ready():
                waiting.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise IncompleteStream

    def build_graph(self: Any, intermediate: bool = False, formatter: Any = None) -> DependencyGraph:
        """The tree as a graph that can be written for Graphviz."""
        from taskyard.result.graph import DependencyGraph, GraphFormatter

        graph = DependencyGraph(formatter=formatter or GraphFormatter(root=self.id, shape="oval"))
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @cached_property
    def graph(self) -> DependencyGraph:
        """The same, kept."""
        return self.build_graph()
