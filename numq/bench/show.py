"""What the benchmark prints: each row of each table at once, then the means and the ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numq.bench import lines
from numq.bench.lines import threads_text
from numq.bench.results import GIGA, Machine, Report, Row

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from numq.bench.peak import Peak

WIDTH = 200  #: no number is ever cut
LEGEND = (
    "of roof: share of the measured peak, of multiplying or of memory, whichever is lower; the",
    "  peak is the most seen so far, measured beside each section; a row that is faster raises it",
    "± %: half the range of the middle half of the turns; ratio: numq's rate over the peer's",
    f"{lines.UNEQUAL}: another answer, not timed; {lines.SKIPPED}: failed or too slow, not timed",
)


def show(report: Report, console: Console) -> None:
    """Print a whole report."""
    printer = Printer(console)
    printer.update(report)
    printer.finish(report)


class Printer:
    """Prints a report while it grows, line by line, whether or not anybody sits before it."""

    def __init__(self, console: Console) -> None:
        """Nothing is printed yet."""
        self._console = console
        self._begun = False
        self._peaks: dict[int, str] = {}  #: what was printed, by number of threads
        self._rows = self._skipped = 0
        self._last: Row | None = None
        self._names: lines.Names = ()

    def update(self, report: Report) -> None:
        """Print what is new."""
        if not self._begun:
            self._begun = True
            self._print(*heading(report.machine), *LEGEND)
            self._print(*(f"not compared: {a.name} ({a.why})" for a in report.absent))
        for peak in report.peaks:
            if peak.threads not in self._peaks:
                self._close(report)
                self._print_peak(peak)
        for row in report.rows[self._rows :]:
            self._row(row, report)
            self._rows += 1
        self._print(*(f"not measured: {what}" for what in report.skipped[self._skipped :]))
        self._skipped = len(report.skipped)

    def finish(self, report: Report) -> None:
        """Close the last table; print what is known of all of them together."""
        from rich.console import Console

        self._close(report)
        wide = Console(file=self._console.file, width=max(WIDTH, self._console.width))
        if report.rows:
            wide.print(means(report))
        if report.ladder:
            wide.print(ladder(report))
        for peak in report.peaks:  # of the whole run, as are the shares in the JSON file
            if self._peaks.get(peak.threads) != peak_text(peak):
                self._print_peak(peak)
        self._print(*counts(report))

    def _row(self, row: Row, report: Report) -> None:
        last, timed = self._last, tuple(peer.name for peer in row.peers)
        if last is None or (last.group, last.threads) != (row.group, row.threads):
            self._close(report)
            self._names = ()
            self._print("", lines.title(row))
        if self._last is None or not set(timed) <= set(self._names):
            self._names = tuple(dict.fromkeys((*self._names, *timed)))
            self._print(lines.header(row, self._names))
        self._last = row
        self._print(lines.line(row, self._names), *lines.notes(row))

    def _close(self, report: Report) -> None:
        if self._last is None:
            return
        table = self._last.group, self._last.threads
        rows = tuple(r for r in report.rows[: self._rows] if (r.group, r.threads) == table)
        found = tuple(m for m in report.means() if (m.group, m.threads) == table)
        self._print(*lines.caption(rows, found, self._names))
        self._last = None

    def _print_peak(self, peak: Peak) -> None:
        self._peaks[peak.threads] = peak_text(peak)
        self._print(self._peaks[peak.threads])

    def _print(self, *texts: str) -> None:
        for text in texts:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def heading(machine: Machine) -> list[str]:
    """The machine, and who takes part."""
    isa = f", isa {machine.isa}" if machine.isa else ""
    return [
        f"{machine.processor}, {machine.cores} cores",
        f"{', '.join(machine.libraries)}{isa}",
    ]


def peak_text(peak: Peak) -> str:
    """The peak for one number of threads."""
    reads = ", ".join(f"{size_text(b.size)} {b.rate / GIGA:.0f}" for b in peak.bandwidths)
    return (
        f"measured peak, {threads_text(peak.threads)}: {peak.macs / GIGA:.0f} GMAC/s ({peak.isa}); "
        f"reading arrays of {reads} GB/s"
    )


def counts(report: Report) -> list[str]:
    """What was left out or differs, counted; each table says where, and why."""
    rows = report.rows
    found = {
        "lines not measured": len(report.skipped),
        "rows with fewer turns": sum(row.ours.turns < row.rounds for row in rows),
        "peers not asked, or failed": sum(len(row.skipped) for row in rows),
        "peers timed once": sum(lines.timed_once(r, peer) for r in rows for peer in r.peers),
        "answers that differ": sum(len(row.unequal) for row in rows),
    }
    shown = [f"{what}: {count}" for what, count in found.items() if count]
    return [f"see above: {'; '.join(shown)}"] if shown else []


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
        out.add_column(threads_text(threads), justify="right", no_wrap=True)
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


def size_text(count: int) -> str:
    """Bytes, in the binary unit that fits."""
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
