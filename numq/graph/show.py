"""A graph for the eye: a table of its nodes, and a drawing."""

from __future__ import annotations

from html import escape

from numq.graph.graph import Graph, Node
from numq.qparams import QParams
from numq.qtensor import QTensor


def table(graph: Graph) -> str:
    """A line a node: name, operator, what it reads, what its constants are, what it makes."""
    rows = [("node", "operator", "reads", "constants", "makes")]
    rows += [
        (
            node.name,
            _operator(node),
            ", ".join(graph.activations(node)),
            ", ".join(_constant(graph, n) for n in node.inputs if n in graph.constants),
            ", ".join(_edge(graph, n) for n in node.outputs),
        )
        for node in graph
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    doors = f"Graph({', '.join(graph.inputs)} -> {', '.join(graph.outputs)}, {graph.nbytes} bytes)"
    return "\n".join([doors, lines[0], "-" * len(lines[0]), *lines[1:]])


def _operator(node: Node) -> str:
    activation = node.attributes.get("activation")
    return f"{node.op}+{activation}" if activation else node.op


def _constant(graph: Graph, name: str) -> str:
    constant = graph.constants[name]
    if isinstance(constant, QTensor):
        return f"{_shape(constant.shape)} {constant.format.name}"
    return f"{_shape(constant.shape)} {constant.dtype}"


def _edge(graph: Graph, name: str) -> str:
    params = graph.qparams.get(name)
    shape = _shape(graph.shapes[name]) if name in graph.shapes else name
    return shape if params is None else f"{shape} {_meaning(params)}"


def _meaning(params: QParams) -> str:
    low, high = params.range
    return f"{params.format.name} [{float(low):.4g}, {float(high):.4g}]"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "()"


_WIDTH, _HEIGHT, _GAP = 210, 40, 34


def draw(graph: Graph) -> str:
    """The graph as an SVG document, inputs above, a row for each step away from them.

    Float nodes are outlined, nodes on codes are filled.
    """
    places = _places(graph)
    columns = 1 + max((x for x, _ in places.values()), default=0)
    rows = 1 + max((y for _, y in places.values()), default=0)
    width, height = columns * (_WIDTH + 20) + 20, rows * (_HEIGHT + _GAP) + 20
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        *(_line(graph, places, node, edge) for node in graph for edge in graph.activations(node)),
        *(_box(name, "input", places[name], False) for name in graph.inputs),
        *(
            _box(node.name, _operator(node), places[node.output], node.output in graph.qparams)
            for node in graph
        ),
        "</svg>",
    ]
    return "\n".join(body)


def _places(graph: Graph) -> dict[str, tuple[int, int]]:
    """Column and row of every edge's maker: below all that it reads."""
    places: dict[str, tuple[int, int]] = {}
    taken: dict[int, int] = {}
    for name in graph.inputs:
        places[name] = (taken.get(0, 0), 0)
        taken[0] = taken.get(0, 0) + 1
    for node in graph:
        row = 1 + max((places[e][1] for e in graph.activations(node)), default=0)
        for name in node.outputs:
            places[name] = (taken.get(row, 0), row)
            taken[row] = taken.get(row, 0) + 1
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    return 20 + place[0] * (_WIDTH + 20), 10 + place[1] * (_HEIGHT + _GAP)


def _box(name: str, op: str, place: tuple[int, int], codes: bool) -> str:
    x, y = _corner(place)
    fill = "#cfe8f7" if codes else "#ffffff"
    middle = x + _WIDTH // 2
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" '
        f'stroke="#0072b2"/><text x="{middle}" y="{y + 17}" text-anchor="middle" '
        f'font-weight="bold">{escape(op)}</text><text x="{middle}" y="{y + 32}" '
        f'text-anchor="middle" fill="#555">{escape(name[:32])}</text>'
    )


def _line(graph: Graph, places: dict[str, tuple[int, int]], node: Node, edge: str) -> str:
    (x1, y1), (x2, y2) = _corner(places[edge]), _corner(places[node.output])
    middle = _WIDTH // 2
    return (
        f'<path d="M{x1 + middle},{y1 + _HEIGHT} C{x1 + middle},{y1 + _HEIGHT + _GAP} '
        f'{x2 + middle},{y2 - _GAP} {x2 + middle},{y2}" fill="none" stroke="#888"/>'
    )
