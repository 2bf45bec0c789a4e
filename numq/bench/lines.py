"""A table of the benchmark as lines of text, so that each can be printed as soon as it is known."""

from __future__ import annotations

from numq.bench.budget import SLOWER
from numq.bench.results import Mean, PeerResult, Row

LABEL = 24  #: columns of a row's name
OURS = 14, 6, 9  #: of numq's rate, spread and share of the roof
RATIO = 8
UNEQUAL, SKIPPED = "≠", "–"

Names = tuple[str, ...]  #: of the peers that have a column


def title(row: Row) -> str:
    """Of the table that ``row`` belongs to."""
    return f"{row.group} ({threads_text(row.threads)})"


def header(row: Row, names: Names) -> str:
    """Above the columns."""
    ours = (f"numq {row.unit}", "± %", "of roof")
    return _joined("", ours, [(name, "ratio") for name in names], names)


def line(row: Row, names: Names) -> str:
    """One workload: numq's rate, and of each peer the rate and numq's over it."""
    ours = (f"{row.rate:.1f}", f"{50 * row.ours.spread:.0f}", f"{row.share:.0%}")
    return _joined(row.label, ours, [_cells(row, name) for name in names], names)


def notes(row: Row) -> list[str]:
    """What the columns cannot say: who is not timed, or only once, and why."""
    slow = [_slow(row, peer) for peer in row.peers if timed_once(row, peer)]
    unequal = [f"{UNEQUAL} {text}" for text in row.unequal]
    return [f"    {text}" for text in (*unequal, *(f"{SKIPPED} {t}" for t in row.skipped), *slow)]


def _slow(row: Row, peer: PeerResult) -> str:
    ratio = row.ratio(peer)
    how = f"{ratio:.0f} times" if ratio > SLOWER else f"at first more than {SLOWER:.0f} times"
    return f"{peer.name}: {how} slower than numq, timed once"


def timed_once(row: Row, peer: PeerResult) -> bool:
    """Whether it was so slow that once was enough, at first sight."""
    return peer.timing.turns == 1 and (row.ours.turns > 1 or row.ratio(peer) > SLOWER)


def caption(rows: tuple[Row, ...], means: tuple[Mean, ...], names: Names) -> list[str]:
    """Below a table: the means, how equal the answers are, and who had fewer turns."""
    found = {mean.peer: f"{mean.ratio:.2f}" for mean in means}
    cells = [("", found.get(name, "")) for name in names]
    out = [_joined("geometric mean", ("", "", ""), cells, names)] if found else []
    peers = {name: [p for row in rows if (p := row.peer(name)) is not None] for name in names}
    equal = [_agreement(name, timed) for name, timed in peers.items() if timed]
    out += ["; ".join(equal)] if equal else []
    short = [f"{row.label} ({row.ours.turns})" for row in rows if row.ours.turns < row.rounds]
    return out + ([f"fewer than {rows[0].rounds} turns: {', '.join(short)}"] if short else [])


def threads_text(count: int) -> str:
    """A number of threads."""
    return "1 thread" if count == 1 else f"{count} threads"


def _joined(label: str, ours: tuple[str, ...], theirs: list[tuple[str, str]], names: Names) -> str:
    parts = [f"{label:<{LABEL}}", *(f"{o:>{width}}" for o, width in zip(ours, OURS, strict=True))]
    for (rate, ratio), name in zip(theirs, names, strict=True):
        parts.append(f"{rate:>{max(len(name), 8) + 3}}{ratio:>{RATIO}}")
    return "".join(parts).rstrip()


def _cells(row: Row, name: str) -> tuple[str, str]:
    peer = row.peer(name)
    if peer is not None:
        return f"{row.rate_of(peer):.1f}", f"{row.ratio(peer):.2f}"
    if any(text.startswith(f"{name}: ") for text in row.unequal):
        return UNEQUAL, ""
    return (SKIPPED if any(text.startswith(f"{name}: ") for text in row.skipped) else ""), ""


def _agreement(name: str, peers: list[PeerResult]) -> str:
    differing = sum(peer.agreement.differing for peer in peers)
    if not differing:
        return f"{name}: equal answers"
    share = differing / sum(peer.agreement.elements for peer in peers)
    most = max(peer.agreement.most for peer in peers)
    return f"{name}: {differing} answers ({share:.2g} of all) differ, by {most:.3g} at most"
