"""From a float model to a quantized network: weight-only, dynamic, static."""

from numq.flows.convert import dynamic, static, weight_only
from numq.flows.network import Network, StaticNetwork

__all__ = ["Network", "StaticNetwork", "dynamic", "static", "weight_only"]
