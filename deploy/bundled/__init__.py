"""What the files of a bundle hold. `bundle.py` above writes them, `read_bundle.py` reads them.

Reading order
    run_script.py   run.py (what it needs of a runtime is in the folder of that runtime)
    monitor.py      monitor.py of a bundle: what the model is given and answers, summed up in a log
    shipped.py      the metadata that are appended to the model
    packed.py       model.packed: the ONNX file entropy-coded, restored bit for bit
    signature.py    SHA256SUMS.sig: who signed the bundle

What it does not know: which point is bundled, and where the bundle goes.
"""
