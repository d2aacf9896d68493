"""ONNX Runtime on the CPU.

runtime.py opens sessions with every optimization, and times kernels by the runtime's own profiler. ONNX
Runtime does not say what precision a layer runs in, but writes the graph that it optimized: graph.py reads
the answer there, on the machine of the search, which has onnx.

What it does not know: which layers a model was compressed in; it is told their names.
"""
