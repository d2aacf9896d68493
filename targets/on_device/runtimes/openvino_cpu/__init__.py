"""OpenVINO on the CPU.

Flow. A model is compiled for the shapes of its inputs, once for each combination that comes. OpenVINO fuses
and renames operations. So they are marked with the names of their layers before it compiles, and the runtime
itself knows the precision and the time of each layer.

Reading order
    runtime.py   sessions, the profiler, the check of runtime_options
    layers.py    marking layers, and finding them again among kernels
    doctor.py    int8 and bfloat16 kernels of the CPU

What it does not know: which layers a model was compressed in; it is told their names.
"""
