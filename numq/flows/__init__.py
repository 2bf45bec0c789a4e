"""Float model in, quantized network out: weight-only, dynamic, static.

`static` is `convert(calibrate(prepare(fuse(graph)), batches))`, each step a function of values.
"""

from numq.flows.convert import convert, dynamic, static, weight_only
from numq.flows.fuse import fuse
from numq.flows.network import Network
from numq.flows.prepare import Prepared, Recipe, calibrate, prepare

__all__ = [
    "Network",
    "Prepared",
    "Recipe",
    "calibrate",
    "convert",
    "dynamic",
    "fuse",
    "prepare",
    "static",
    "weight_only",
]
