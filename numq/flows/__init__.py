"""Float model in, quantized network out: weight-only, dynamic, static.

`static` is `convert(calibrate(prepare(fuse(graph)), batches))`, each step a
function of values; `prepare_qat` gives a module to train, which `convert`
takes too. Both follow one `Plan`: which nodes run on codes, and what
quantizes each edge. A `Recipe` says how, an `Override` how some nodes
differ.
"""

from numq.flows.compare import LayerError, compare
from numq.flows.convert import convert, static
from numq.flows.floating import dynamic, weight_only
from numq.flows.fuse import fuse
from numq.flows.network import Network
from numq.flows.plan import Plan
from numq.flows.prepare import Prepared, calibrate, prepare
from numq.flows.qat_network import QATNetwork, prepare_qat
from numq.flows.qat_weights import Estimator, QATRecipe
from numq.flows.recipe import Override, Recipe

__all__ = [
    "Estimator",
    "LayerError",
    "Network",
    "Override",
    "Plan",
    "Prepared",
    "QATNetwork",
    "QATRecipe",
    "Recipe",
    "calibrate",
    "compare",
    "convert",
    "dynamic",
    "fuse",
    "prepare",
    "prepare_qat",
    "static",
    "weight_only",
]
