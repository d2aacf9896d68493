"""An ONNX file as a module of torch, whose initializers are parameters that can be trained.

Flow: `read_model` reads the file into a `Graph` of plain records and refuses what cannot be followed;
`OnnxNetwork` holds its initializers under readable names and runs its nodes by functions of torch, so that
torch.export sees operators like those of a model written in Python. Sizes (`Shape`, and what is computed from
it) are Python numbers meanwhile: a free batch size stays free.

Reading order:
    graph.py      the file as records: nodes, initializers, inputs, outputs
    names.py      readable names of layers and their tensors
    network.py    the module
    values.py     tensors, and numbers that do not depend on the data
    operators.py  the table of all operators
    arithmetic.py, shapes.py, layers.py, recurrent.py   what they do

It knows nothing of tasks, and of the rest of the package only the errors.
"""
