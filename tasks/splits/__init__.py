"""What must hold of the samples of the splits, checked before any work.

Flow: `check.check_task` looks at each split (`looks_at`), finds what varies, and later calls `overlap_notes`.

Reading order:
    streams.py   iterable datasets become loaders
    grouping.py  batches of one shape each, where samples differ
    shapes.py    every split can be read; samples have the shape of the example but for free dimensions
    tokens.py    values of inputs of whole numbers, where the task lists them
    varying.py   dimensions whose size differs between samples
    overlap.py   samples that the splits share

It does not know the loss or the metric.
"""
