"""What the benchmark shows: a table per group of workloads, the means, the ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numq.bench.results import GIGA, PeerResult, Report, Row

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 200  #: no number is ever cut


def show(report: Report, console: Console) -> None:
    """Print the report."""
    from rich.console import Console

    wide = Console(file=console.file, width=max(WIDTH, console.width))
    wide.print(heading(report), highlight=False, markup=False)
    for group, threads, rows in report.tables():
        wide.print(table(group, threads, rows, report))
    if report.rows:
        wide.print(means(report))
    if report.ladder:
        wide.print(ladder(report))


def heading(report: Report) -> str:
    """Machine, peaks, and who is not there."""
    lines = [f"{report.machine.processor}, {report.machine.cores} cores"]
    lines.append(", ".join(report.machine.libraries))
    for peak in report.peaks:
        reads = ", ".join(f"{size_text(b.size)} {b.rate / GIGA:.0f}" for b in peak.bandwidths)
        lines.append(
            f"measured peak, {_threads(peak.threads)}: {peak.macs / GIGA:.0f} GMAC/s ({peak.isa}); "
            f"reading arrays of {reads} GB/s"
        )
    lines += [f"not compared: {absent.name} ({absent.why})" for absent in report.absent]
    lines += [f"another answer: {r.label}, {why}" for r in report.rows for why in r.unequal]
    lines += [f"not measured: {skipped}" for skipped in report.skipped]
    return "\n".join(lines)


def table(group: str, threads: int, rows: tuple[Row, ...], report: Report) -> Table:
    """One group of workloads: rates, and for each peer rate and ratio."""
    from rich.box import SIMPLE
    from rich.table import Table

    names = list(dict.fromkeys(peer.name for row in rows for peer in row.peers))
    out = Table(
        box=SIMPLE, title=f"{group} ({_threads(threads)})", caption=_caption(rows, names),
        title_justify="left", caption_justify="left", pad_edge=False,
    )  # fmt: skip
    out.add_column("", no_wrap=True)
    for header in (f"numq {rows[0].unit}", "± %", "of roof"):
        out.add_column(header, justify="right", no_wrap=True)
    for name in names:
        out.add_column(name, justify="right", no_wrap=True)
        out.add_column("ratio", justify="right", no_wrap=True)
    for row in rows:
        out.add_row(row.label, *_ours(row), *(c for name in names for c in _cells(row, name)))
    found = {m.peer: m for m in report.means() if (m.group, m.threads) == (group, threads)}
    out.add_section()
    out.add_row(
        "geometric mean", "", "", "", *(c for n in names for c in ("", f"{found[n].ratio:.2f}"))
    )
    return out


def _ours(row: Row) -> tuple[str, ...]:
    return f"{row.rate:.1f}", f"{50 * row.ours.spread:.0f}", f"{row.share:.0%}"


def _cells(row: Row, name: str) -> tuple[str, str]:
    peer = row.peer(name)
    return ("", "") if peer is None else (f"{row.rate_of(peer):.1f}", f"{row.ratio(peer):.2f}")


def _caption(rows: tuple[Row, ...], names: list[str]) -> str:
    """How equal the answers are, peer by peer."""
    notes = []
    for name in names:
        peers = [peer for row in rows if (peer := row.peer(name)) is not None]
        notes.append(_agreement(name, peers))
    return "; ".join(notes)


def _agreement(name: str, peers: list[PeerResult]) -> str:
    differing = sum(peer.agreement.differing for peer in peers)
    if not differing:
        return f"{name}: equal answers"
    share = differing / sum(peer.agreement.elements for peer in peers)
    most = max(peer.agreement.most for peer in peers)
    return f"{name}: {differing} answers ({share:.2g} of all) differ, by {most:.3g} at most"


def means(report: Report) -> Table:
    """Geometric means of numq's rate over the peer's, for each number of threads."""
    from rich.box import SIMPLE
    from rich.table import Table

    counts = list(dict.fromkeys(row.threads for row in report.rows))
    found = {(m.group, m.peer, m.threads): m for m in report.means()}
    out = Table(
        box=SIMPLE, title="numq's rate over the peer's: geometric mean (least)",
        title_justify="left", pad_edge=False,
    )  # fmt: skip
    for header in ("", "peer"):
        out.add_column(header, no_wrap=True)
    for threads in counts:
        out.add_column(_threads(threads), justify="right", no_wrap=True)
    for group, peer in dict.fromkeys((m.group, m.peer) for m in report.means()):
        cells = (found.get((group, peer, threads)) for threads in counts)
        out.add_row(
            group, peer, *("" if m is None else f"{m.ratio:.2f} ({m.least:.2f})" for m in cells)
        )
    return out


def ladder(report: Report) -> Table:
    """The rungs, each against the one before and against the peak."""
    from rich.box import SIMPLE
    from rich.table import Table

    out = Table(
        box=SIMPLE, title="the ladder (one thread): the same product, step by step",
        title_justify="left", pad_edge=False,
    )  # fmt: skip
    for header in ("rung", "GMAC/s", "× the one before"):
        out.add_column(header, justify="left" if header == "rung" else "right", no_wrap=True)
    before = None
    for rung in report.ladder:
        out.add_row(
            rung.name, f"{rung.rate:.1f}", "" if before is None else f"{rung.rate / before:.1f}"
        )
        before = rung.rate
    return out


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def size_text(count: int) -> str:
    """Bytes, in the binary unit that fits."""
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
