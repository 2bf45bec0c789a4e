"""Layers: a module holds parameters and maps tensors to a tensor."""

from numq.nn.activations import (
    GELU,
    Dropout,
    Flatten,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from numq.nn.attention import MultiheadAttention, causal_mask
from numq.nn.containers import Sequential
from numq.nn.convolution import AvgPool2d, Conv2d, GlobalAvgPool2d, MaxPool2d
from numq.nn.linear import Embedding, Linear
from numq.nn.module import Module
from numq.nn.normalization import BatchNorm, LayerNorm
from numq.nn.recurrent import GRU, LSTM

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool2d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "MultiheadAttention",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "causal_mask",
]
