"""How numbers are stored in the file: the bits of each layer, in torch and as nodes of ONNX.

Flow. `encoding.encode` takes a folded torch model and its template. It asks `graph/quantized.py` which
tensors are int8 and `levels/activations.py` how they are rounded, writes what each precision needs, and says
what the outputs must be (`fake_outputs`).

Reading order
    quantize.py      int8: integers of weights and biases
    qdq.py           the QuantizeLinear and DequantizeLinear nodes of int8 layers
    pack.py          6, 4, 3 and 2 bits: integers packed into planes or ONNX's small types, and expanded
    dynamic.py       linear layers in int8 with the range that their inputs have in each call
    linear.py        the nodes of a linear layer
    block4.py        linear layers whose weights have 4 bits and one scale for each block
    stored.py        weights in 8 or fewer bits of layers that compute in float32
    half.py, fp8.py  float16 and E4M3
    fake_outputs.py  the same roundings in torch: what the runtime must answer
    encoding.py      all of it for one candidate

What it does not know: how a template is exported or edited, channels, training, devices.
"""
