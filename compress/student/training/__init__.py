"""Recovery: the original is distilled into the student.

    recover.py          the loss and the loop, with checkpoints
    micro_batches.py    a step in parts that fit into memory
    devices.py          a student and its grid on the CPU or a GPU
    early_stopping.py   which state is kept
    features.py         intermediate values, to compare beside the answers
    fake_quantize.py    weights on a grid with learned steps
    judging.py          how far a state's answers are, on samples that were held back

It does not know recipes, and no data but the batches that it is given.
"""
