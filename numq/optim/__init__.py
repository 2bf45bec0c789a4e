"""Optimizers: what a gradient does to a parameter; schedules, clipping."""

from numq.optim.clipping import clip_grad_norm
from numq.optim.optimizers import SGD, Adam, Optimizer
from numq.optim.parameters import Group
from numq.optim.schedules import CosineDecay, LinearDecay, StepDecay

__all__ = [
    "SGD",
    "Adam",
    "CosineDecay",
    "Group",
    "LinearDecay",
    "Optimizer",
    "StepDecay",
    "clip_grad_norm",
]
