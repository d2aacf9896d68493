"""The built-in tasks `ultralytics:MODEL`: detectors of ultralytics, objects as YOLO or COCO store them.

Flow: `models.ultralytics` reads the annotations, rebuilds the network from what the checkpoint says of its
architecture, and loads the weights into it. Nothing is downloaded, and nothing that a checkpoint holds is
run: its pickled objects become inert records. The network answers N × (4 + classes) × positions, boxes in
pixels and probabilities, as an ONNX file that ultralytics exports; loss and metric are computed of that.

Reading order:
    models.py             the task
    library.py            ultralytics without network and settings; an architecture as a network
    checkpoint.py         what is in a .pt file
    annotations.py        splits of images with their objects, by the kind of data
    yolo_format.py        data.yaml with folders of images and labels
    coco_format.py        JSON files as COCO's
    geometry.py           an image in a square; boxes after suppression
    images.py             images and objects as tensors of one size
    loss.py               the loss of ultralytics, of decoded boxes
    average_precision.py  the metric: boxes matched with objects, their average precision

ultralytics is imported when such a task is named (its licence is AGPL-3.0). Reading data and the metric do
not need it. It knows nothing of graphs.
"""
