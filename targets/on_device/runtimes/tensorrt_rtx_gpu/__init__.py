"""TensorRT for RTX on an NVIDIA RTX GPU.

Flow. As tensorrt_gpu/, whose code it uses with another library. RTX compiles its kernels when an engine is
first run, so that those are kept on the device, and not the timings of tactics; and its engines can be built
on a machine without a GPU.

Reading order: tensorrt_gpu/ first, then runtime.py, doctor.py and bundle.py here, a few lines each.

What it does not know: profiles; their runtime_options come with each request.
"""
