"""Layers: a module holds parameters and maps a Tensor to a Tensor."""

from numq.nn.layers import Linear, Module, ReLU, Sequential

__all__ = ["Linear", "Module", "ReLU", "Sequential"]
