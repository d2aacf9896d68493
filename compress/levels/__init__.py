"""Weights for every level of a layer, reconstructed from statistics of the layer's inputs.

A *level* is a layer on some of its input channels, rounded to some bits, or sparse. Cutting and rounding
alone would cost accuracy. The other weights can compensate if it is known how the layer's inputs correlate:
that is the second moment E[x xᵀ], collected once on calibration samples.

Flow: `moments.Moments` runs the original and sums the moments. `database.LevelDatabase` makes a
level when it is first needed, by the methods of `reconstruct` (least squares and Optimal Brain Surgeon for
channels, GPTQ or AdaRound for bits) and `sparse` (SparseGPT for 2:4), and keeps it on disk. `stitch.stitch`
writes levels into a pruned module: a candidate's weights in milliseconds.

Reading order:
    statistics.py    moments of layer inputs
    running.py       memory layout and arithmetic that are fast on a CPU
    moments.py       those of all layers, collected in passes and kept on disk
    reconstruct.py   the formulas, on plain tensors
    wide.py          the same for layers with too many columns, block by block
    sparse.py        2:4 sparsity
    value_grids.py   rounding to fp8, and to 4 bits with a scale per block
    database.py      levels by layer, on disk by content
    stitch.py        levels into a module
    activations.py   ranges and scales of activations
    importance.py    which channels of a group go first

It does not know recipes, training, ONNX or the user's task: samples come in as batches of tensors.
"""
