"""What runs beside the model, on this machine or on a board: standard library, numpy and one runtime; nothing
of the package.

Started as `python -P targets/on_device CONFIG`, here or from wherever the folder was copied to, so that it
must do without everything else, and with Python 3.8 (JetPack 5).

Reading order
    worker.py               the conversation (JSON lines) and the operations
    timing.py               the ABBA timing loop
    inputs.py               what a model is run with: stored samples, or random ones
    memory.py, machine.py   peak memory; what the machine says of itself
    care.py, tegrastats.py  power mode, clocks, temperatures, throttling: what a board's condition is, and what is dropped for it
    clocks.py               `--set-clocks`: sets them, and puts them back
    runtime.py              what a runtime must offer, and how one is loaded
    runtime_onnxruntime.py  one runtime each
    runtime_openvino.py     the same; openvino_layers.py: which of its kernels computes which layer
    cuda.py                 CUDA's driver, by ctypes
    tensorrt_*.py           TensorRT and TensorRT for RTX: _build, _cache (what is kept), _session (running, timing), _layers
                            (the inspector), _runtime (all of it as a runtime)
    agent.py                the long-lived process on a board behind SSH; agent_*.py are its parts
    locks.py                where processes of one machine meet

What it does not know: recipes, layers, profiles, or why it is asked.
"""
