"""The exact product of 8-bit matrices, and its ways out of int32."""
