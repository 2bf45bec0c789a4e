"""What is known of the processor, of Numba and of LLVM; nothing here multiplies matrices."""
