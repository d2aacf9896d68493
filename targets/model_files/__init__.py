"""The files of models: what one says of itself, and in which container a runtime takes it.

Purpose. A file that is measured, sent to a board or put into a bundle is one file, named by its digest, in
the container that the runtime reads: ONNX, or LiteRT's .tflite.

Flow. `one_file` brings an ONNX model together with weights that lie beside it, and refuses what is damaged.
`container` writes an ONNX model in the container of a runtime.

Reading order
    container.py   ONNX models as LiteRT's files, and the names of inputs in both
    one_file.py    ONNX models whose weights are in other files

What it does not know: targets, workers, where a file comes from.
"""
