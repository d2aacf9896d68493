"""The .tflite file of a student: an encoded ONNX model, written for LiteRT.

Purpose. One encoded graph (onnx_file/) gives the ONNX file and the .tflite file, so that a candidate has the
same numbers in both. There is no converter: each ONNX operator has a rule that writes LiteRT's operators.

Flow. `graph` reads the ONNX model: shapes, constants, weights that are stored as integers. `convert` goes
through the nodes in order and calls the rule of each. A rule asks the `emitter` for its inputs in the form
that LiteRT's operator takes (channels last, integers on a grid), which adds a TRANSPOSE, QUANTIZE or
DEQUANTIZE where the value is not there in that form yet. Inputs and outputs of the file have ONNX's order. A
layer computes with integers where its input, its weight and its output do (`endings` takes the activation and
QuantizeLinear behind it).

Reading order
    convert.py                   litert_from_onnx, and which rule an operator has
    graph.py, emitter.py         the ONNX model; values and their forms
    endings.py                   what is written as a part of the operator in front
    layers.py                    convolutions and linear layers
    pooling.py, elementwise.py, shaping.py   all other operators
    flat.py, read.py             the file's tables, by the schema that comes with LiteRT

What it does not know: how the ONNX model was made, torch, recipes, devices.
"""
