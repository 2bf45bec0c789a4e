"""The convolution of 8-bit images: the same product, with patches packed in place of rows.

In reading order: `shape` (the sizes, and how the work is cut into jobs), `stage` (an image with its
border), `rows` (NHWC: the product's walk with another way of packing A), `columns` (NCHW: patches
are B), `depthwise` (no product at all), `weights` (packed once), `prepared` (everything but the
image) and `conv` (what is called with all of it).
"""
