"""The side-by-side benchmark: numq against every peer that is installed.

All run on the same arrays and the same number of threads, taking turns in
one process, after their answers were compared. Reading order: `shapes`
(what is measured, as data), `problems` (its arrays, and how numq answers),
`peers` with `onnxruntime_peer` and `torch_peer` (how the others do),
`agreement` and `saturation` (whether the answers are equal, and why not),
`threads` and `timing` (how it is timed), `budget` (how long it may take),
`peak` (what the machine could do), `contest` (one workload), `results`
(what comes out), `run` (the whole, as a report that grows), `lines`, `show`
and `roofline` (tables and the picture), `ladder` (the product, rung by
rung), `command` (the command line).

Importing this loads no peer.
"""

from numq.bench.results import Report
from numq.bench.run import bench
from numq.bench.shapes import BenchOptions, Section

__all__ = ["BenchOptions", "Report", "Section", "bench"]
