"""Which value of the exported model is which node of the graph."""

import torch
from autocompress.compress.graph.graph import fold_batch_norms, operation
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.onnx_file.export import export_template
from torch import nn


def test_a_pooling_of_one_pixel_is_told_from_its_input():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    x = torch.randn(4, 3, 2, 2)
    folded = fold_batch_norms(trace(nn.Sequential(*layers, nn.Linear(4, 2)).eval(), (x,)))
    template = export_template(folded, (x,), 21)
    makers = {name: node.op_type for node in template.model.graph.node for name in node.output}
    by_operation = {operation(node): node.name for node in folded.graph.nodes}
    kinds = {
        name: makers[template.values[by_operation[name]]]
        for name in ("conv2d", "relu", "adaptive_avg_pool2d")
    }
    assert kinds == {"conv2d": "Conv", "relu": "Relu", "adaptive_avg_pool2d": "GlobalAveragePool"}
