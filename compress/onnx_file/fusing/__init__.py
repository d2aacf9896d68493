"""Joins what an exporter spells out into operators that a runtime has kernels for: the same, faster.

An exporter writes attention as ten nodes and rotary positions as twelve, each of which goes through memory.
ONNX Runtime has one kernel for each (`Attention` and `RMSNormalization` of opset 23, its own
`RotaryEmbedding`), but finds few of the forms that models have. `fuse` finds them in the finished file of a
candidate, whatever its precisions and widths; the check of its answers compares the result with torch.

Flow. `fuse.fuse` makes a `GraphView`. Each pass looks for an anchor (a Softmax, a Reciprocal, a sum), follows
makers up to the tensors that the pattern starts from, and, only if every step is as it must be, adds a node
that makes the same output from them. What nobody reads any more is dropped. A form that no pass knows stays.

Reading order
    view.py            the graph: makers, constants, shapes; replacing what makes a tensor
    normalization.py   x / sqrt(mean(x²) + ε) · w
    rotary.py          rotary positions, of neighbouring pairs or of halves
    attention.py       softmax(q · kᵀ · scale + mask) · v, grouped queries too
    masks.py           whether a mask is causal
    layout.py          attention and rotary positions without the transposes around them
    causal.py          causal attention in blocks, each with the keys that it sees
    fuse.py            all passes

What it does not know: the torch model, recipes, precisions. Integers between nodes that it would join keep it
from joining them.
"""
