"""Reads the user's network: its graph, layers, coupled channels and residual blocks.

Flow: `tracing.trace` exports the model with torch.export into an ATen graph, in which parameters keep their
names. `layers.layers_of` lists what it multiplies with. `following.follow_channels` walks through the graph
once; a rule for each operation says how channels pass it, and fills a `channels.ChannelMap`. Channels that
can only be removed together are a unit; units that touch the same parameters are a group.
`blocks.find_blocks` finds residual branches. `network.Network` holds all of it, and computes the shapes,
MACs and bytes of any recipe without building anything.

Reading order:
    tracing/            from the user's module to an ATen graph
    graph.py            reads and edits an ATen graph; folds batch normalization
    layers.py           layers and why some cannot be quantized
    channels.py         slot, unit, group: the model of coupled channels, with an example
    following/          how channels pass each operation
    blocks.py           residual blocks, and the graph without one
    rest.py             what the file stores beside the layers, and why it is no layer
    factors.py          a layer as two of lower rank
    network.py          everything about one network, and costs
    quantized.py        which tensors are quantized when some layers run in int8
    resolution.py       the same network on smaller images
    devices.py          a traced model on a device
    used_rows.py        rows of tables that no input reads

It does not know data, statistics, training or ONNX. It imports nothing of the other folders.
"""
