"""LiteRT on the CPU, with XNNPACK.

Flow. A .tflite file is opened once for each combination of input shapes. The numbers of an operator's tensors
are those in which it computes: LiteRT changes none of them. XNNPACK takes all operators of a file that it has
kernels for, and LiteRT's own kernels compute the rest. LiteRT has no public profiler, so each operator is
timed in a model of its own.

Reading order
    runtime.py     sessions, precisions, seconds of operators
    operators.py   the operators of a file: names, precisions, a model of each
    doctor.py      int8 kernels of the CPU
    bundle.py      run.py of a bundle

What it does not know: which layers a model was compressed in; the file names the weights after them.
"""
