"""TensorRT for RTX on an NVIDIA RTX GPU: the code of tensorrt_gpu/ with another library.

Its engines are built without a GPU and hold no kernels: those are compiled when an engine is first run, and
kept in a cache on the device. runtime.py names the library, and facts.json what differs: precisions, how it
is installed. doctor.py and bundle.py build on those of
tensorrt_gpu/.

What it does not know: profiles; their runtime_options come with each request.
"""
