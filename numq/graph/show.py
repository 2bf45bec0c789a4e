"""A graph for the eye: a table of its nodes, and a drawing."""

from __future__ import annotations

from html import escape

from numq.arrays import check_type
from numq.graph.graph import Graph, Node
from numq.qparams import QParams
from numq.qtensor import QTensor


def table(graph: Graph) -> str:
    """A line a node: name, operator, what it reads, what its constants are, what it makes."""
    check_type(graph, Graph, "graph")
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
    if "function" in node.attributes:
        return f"{node.op} of {node.attributes['function']}"
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


_WIDTH, _HEIGHT, _GAP, _AISLE = 210, 40, 34, 50


def draw(graph: Graph) -> str:
    """The graph as an SVG document, inputs above, a row for each step away from them.

    Float nodes are outlined, nodes on codes are filled.
    """
    check_type(graph, Graph, "graph")
    places = _places(graph)
    columns = 1 + max((x for x, _ in places.values()), default=0)
    rows = 1 + max((y for _, y in places.values()), default=0)
    width, height = columns * (_WIDTH + _AISLE) + 20, rows * (_HEIGHT + _GAP) + 20
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        *(_line(places, e, node.outputs[0]) for node in graph for e in graph.activations(node)),
        *(_box(name, "input", places[name], False) for name in graph.inputs),
        *(
            _box(node.name, _operator(node), places[made], made in graph.qparams)
            for node in graph
            for made in node.outputs[:1]
        ),
        "</svg>",
    ]
    return "\n".join(body)


def _places(graph: Graph) -> dict[str, tuple[int, int]]:
    """Column and row of every edge's maker: below all that it reads, under the first if it can."""
    places: dict[str, tuple[int, int]] = {}
    for column, name in enumerate(graph.inputs):
        places[name] = (column, 0)
    for node in graph:
        read = [places[edge] for edge in graph.activations(node)]
        row = 1 + max((r for _, r in read), default=0)
        column = read[0][0] if read else 0
        while (column, row) in places.values():
            column += 1
        for name in node.outputs:
            places[name] = (column, row)
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    return 20 + place[0] * (_WIDTH + _AISLE), 10 + place[1] * (_HEIGHT + _GAP)


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


def _line(places: dict[str, tuple[int, int]], edge: str, output: str) -> str:
    """From box to box; through the aisle beside them if another box stands between."""
    (c1, r1), (c2, r2) = places[edge], places[output]
    (x1, y1), (x2, y2) = _corner((c1, r1)), _corner((c2, r2))
    between = {(c1, row) for row in range(r1 + 1, r2)}
    if c1 == c2 and between.intersection(places.values()):
        side, aisle = x1 + _WIDTH, x1 + _WIDTH + _AISLE
        top, bottom = y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
        path = f"M{side},{top} C{aisle},{top} {aisle},{bottom} {side},{bottom}"
    else:
        top, middle = y1 + _HEIGHT, _WIDTH // 2
        path = (
            f"M{x1 + middle},{top} C{x1 + middle},{top + _GAP} "
            f"{x2 + middle},{y2 - _GAP} {x2 + middle},{y2}"
        )
    return f'<path d="{path}" fill="none" stroke="#888"/>'
