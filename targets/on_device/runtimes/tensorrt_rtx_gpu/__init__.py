"""TensorRT for RTX on an NVIDIA RTX GPU: the code of tensorrt_gpu/ with another library, which compiles
kernels when an engine is first run.
"""
