"""What must hold of the samples of the splits, checked before any work.

Flow: `check.check_task` calls `check_split` for each split, and later `overlap_notes` for all of them.

Reading order:
    shapes.py    every split can be read, and all samples have the shape of the example
    overlap.py   samples that the splits share

It does not know the model, the loss or the metric.
"""
