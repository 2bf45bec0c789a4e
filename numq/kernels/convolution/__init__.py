"""The convolution of 8-bit images: the same product, with patches packed in place of rows."""
