"""The ONNX file of a student, and the outputs that it must give.

An export takes seconds, so that the original is exported once. `templates.Templates` makes the float32
model of a candidate from that template: other initializers, edited constants, removed blocks, factored
layers. Only where no edit leads there is the candidate exported anew.

`encoding.encoding.encode` then gives each layer the numbers of its precision, and writes them: integers in
QuantizeLinear/DequantizeLinear pairs by one of two conventions (ONNX Runtime's, TensorRT's), packed weights
of fewer bits, blocks of 4 bits, float16, fp8. It also computes with the same numbers in torch. These
outputs are the check that a runtime must pass before anything is measured.

Reading order:
    export.py, locate.py                    the template; where a model has parameters and values
    writer.py                               edits of an ONNX model
    run.py, free_dims.py                    the export against torch; dimensions that stay free
    templates.py, template_cache.py         a candidate's float32 model; templates on disk
    template_edit.py, restructure.py        constants that pruning changes; blocks and factors
    known_sizes.py                          a resize by scales
    used_rows.py                            tables without unused rows
    opset.py                                older opsets, for TensorRT 8
    encoding/                               the numbers of each precision, with a map of its own
    check.py                                expected outputs, and their comparison

It does not know how the student was made, and no device: options.FileFormat is all that a target decides.
"""
