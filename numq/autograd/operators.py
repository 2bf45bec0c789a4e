"""The operators of Python on tensors: each is one of the functions, under its sign."""

from __future__ import annotations

from numq.autograd.arithmetic import add, div, matmul, mul, neg, power, sub
from numq.autograd.elementwise import greater, less
from numq.autograd.indexing import index
from numq.autograd.tensor import Tensor, as_tensor

Tensor.__add__ = add
Tensor.__radd__ = lambda a, b: add(as_tensor(b, a), a)
Tensor.__sub__ = sub
Tensor.__rsub__ = lambda a, b: sub(as_tensor(b, a), a)
Tensor.__mul__ = mul
Tensor.__rmul__ = lambda a, b: mul(as_tensor(b, a), a)
Tensor.__truediv__ = div
Tensor.__rtruediv__ = lambda a, b: div(as_tensor(b, a), a)
Tensor.__pow__ = power
Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda a, b: matmul(as_tensor(b, a), a)
Tensor.__neg__ = neg
Tensor.__gt__ = greater
Tensor.__lt__ = less
Tensor.__getitem__ = index
