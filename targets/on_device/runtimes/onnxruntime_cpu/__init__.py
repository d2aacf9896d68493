"""ONNX Runtime on the CPU.

Flow. Sessions are opened with every optimization, and kernels are timed by the runtime's own profiler. ONNX
Runtime does not say what precision a layer runs in, but writes the graph that it optimized. graph.py reads
the answer there, on the machine of the search, which has onnx.

Reading order
    runtime.py   sessions, the profiler, the check of runtime_options
    graph.py     precisions from the optimized graph, nodes from the names of kernels
    doctor.py    int8 kernels of the CPU

What it does not know: which layers a model was compressed in; it is told their names.
"""
