"""What is known of the processor, of Numba and of LLVM; nothing here multiplies matrices.

Reading order: `cpu` (which instruction set), `tile` (the shape of its registers, and the door from
Numba to written IR), `ir` and `shuffles` (how code is written), `instructions` (what one processor
has and another lacks); `jit` (compilation, threads) over `cache` and `numba_private`; `parallel`
(a task run many times) and `workspace` (its memory).
"""
