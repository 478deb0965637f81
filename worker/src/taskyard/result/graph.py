"""A graph of results, for looking at and for Graphviz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from typing import IO, Any


class GraphFormatter:
    """How a graph is written in the dot language."""

    def __init__(self, root: Any = None, type: str = "digraph", id: str | None = None, **scheme: Any) -> None:
        self.root = root
        self.type = type
        self.id = id or "dependencies"
        self.scheme = {"shape": "box", **scheme}

    def label(self, node: Any) -> str:
        """The text of a node."""
        return str(node)

    def attributes(self, node: Any) -> str:
        """The attributes of a node; the root is a house."""
        values = {**self.scheme, "label": self.label(node)}
        if self.root is not None and str(node) == str(self.root):
            values["shape"] = "house"
        return ", ".join(f'{name}="{value}"' for name, value in values.items())


class DependencyGraph:
    """Nodes and, for each, the nodes that it leads to."""

    def __init__(
        self, it: Iterable[tuple[Any, Iterable[Any]]] = (), formatter: GraphFormatter | None = None
    ) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Any, list[Any]] = {}
        self.update(it)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add nodes, each with those that it leads to."""
        for node, ends in it:
            self.adjacent.setdefault(node, []).extend(ends)

    def connect(self, graph: DependencyGraph) -> None:
        """Take over the nodes of another graph."""
        self.adjacent.update(graph.adjacent)

    def topsort(self) -> list[Any]:
        """The nodes in an order in which each comes after all that it leads to."""
        return list(TopologicalSorter(self.adjacent).static_order())

    def add_arc(self, node: Any) -> None:
        """Add a node."""
        self.adjacent.setdefault(node, [])

    def add_edge(self, start: Any, end: Any) -> None:
        """Add an edge from `start` to `end`."""
        self.adjacent.setdefault(start, []).append(end)

    def edges(self) -> list[Any]:
        """The nodes that lead somewhere."""
        return [node for node, ends in self.adjacent.items() if ends]

    def valency_of(self, node: Any) -> int:
        """How many nodes can be reached, the node itself included; 0 for one that is not there."""
        if node not in self.adjacent:
            return 0
        seen = [node]
        for each in seen:
            seen.extend(end for end in self.adjacent.get(each, ()) if end not in seen)
        return len(seen)

    def to_dot(self, stream: IO[str], formatter: GraphFormatter | None = None) -> None:
        """Write the graph in the dot language."""
        style = formatter or self.formatter
        stream.write(f"{style.type} {style.id} {{\n")
        for node in self.adjacent:
            stream.write(f'    "{style.label(node)}" [{style.attributes(node)}]\n')
        arrow = "->" if style.type == "digraph" else "--"
        for start, ends in self.adjacent.items():
            for end in ends:
                stream.write(f'    "{style.label(start)}" {arrow} "{style.label(end)}"\n')
        stream.write("}\n")

    def items(self) -> Iterable[tuple[Any, list[Any]]]:
        """(node, nodes that it leads to)."""
        return self.adjacent.items()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def __contains__(self, node: Any) -> bool:
        return node in self.adjacent

    def __len__(self) -> int:
        return len(self.adjacent)

    def __repr__(self) -> str:
        return "\n".join(f"{node} -> {', '.join(map(str, ends))}" for node, ends in self.adjacent.items())
