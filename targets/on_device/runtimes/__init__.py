"""The runtimes: one folder each, and one line each in listed.json.

Purpose. Everything that is true of one runtime only is in its folder. A new runtime is a new folder and a
line `"name": "folder"` in listed.json; nothing else of the project names it. `name` is what a target's TOML
file says (`runtime = "name"`). A folder must not have the name of its library: `onnxruntime_cpu`.

What a folder holds
    facts.json   what the project must know without running it: title, Python module, how it is installed,
                 precisions, Q/DQ conventions. profiles/runtimes.py describes every key (RuntimeFacts).
    runtime.py   the session, seen from the worker; runtime.py one folder up says what it must offer. The only
                 module that imports the library.
    doctor.py    `findings(profile, environment)`: what `targets doctor` says of this runtime (finding.py)
    bundle.py    `SCRIPT`: the runtime's parts of a bundle's run.py (script.py)
    graph.py     only with `"precision_from": "graph"`: reads the graph that the runtime optimized. The other
                 runtimes report the precision of each layer themselves.

Flow. On the device the worker calls `load_runtime(name)`. On the machine of the search, `profiles` reads
facts.json as data, and targets/runtimes.py loads doctor.py, bundle.py and graph.py.

Reading order
    listed.py          which runtimes exist, and loading one
    onnxruntime_cpu/   the simplest one; then openvino_cpu/
    tensorrt_gpu/      TensorRT: builds engines, has a memory of its own; tensorrt_rtx_gpu/ shares its code
    finding.py, script.py, int8_kernels.py   what doctor.py and bundle.py are written with

What it does not know: profiles, recipes, models, the search. Python 3.8; doctor.py and bundle.py need the
standard library alone, graph.py onnx.
"""
