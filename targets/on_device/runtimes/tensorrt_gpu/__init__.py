"""TensorRT on an NVIDIA GPU, 8.5 to 11; tensorrt_rtx_gpu/ uses the same code for TensorRT for RTX.

Flow. A model becomes an engine (build.py), on the device, because an engine is bound to its GPU. The engine
is kept (cache.py) and found again by the digest of the model, the shapes, the options and the library's
version. A session (session.py) runs it out of device memory, and times CUDA graphs between CUDA events.

Reading order
    runtime.py   the runtime as the worker loads it; engines.py has the code
    build.py     from an ONNX file to an engine; eight.py: what TensorRT 8 reads otherwise
    cache.py     engines, timings of tactics and compiled kernels on the device's disk
    session.py   running and timing; cuda.py: CUDA's driver, by ctypes
    layers.py    precisions and names of kernels, from the engine inspector

What it does not know: profiles; their runtime_options come with each request.
"""
