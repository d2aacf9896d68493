"""What a training needs beside its loss: `recover.py` has that, and the loop.

    micro_batches.py    a step in parts that fit into memory
    devices.py          a student and its grid on the CPU or a GPU
    early_stopping.py   which state is kept
    features.py         intermediate values, to compare beside the answers

It does not know recipes, and no data but the batches that it is given.
"""
