"""Tasks from files and libraries that people have already, without Python code of their own.

Flow: `load.load_task` calls the function of the named source with the values of `--task-arg`; it returns a
`Task` like any other, which is checked as a whole afterwards.

Reading order:
    exported.py        a model that torch.export.save wrote, with its data in an .npz file
    onnx_file.py       a model in an .onnx file, with the same data
    onnx_reader/       that file as a module of torch
    array_splits.py    the splits in an .npz file, and a task of them
    one_set.py         one set of samples as training, validation and test
    named_measures.py  losses and metrics that are chosen by name
    timm_images.py     a model of timm by its name, with a local checkpoint and class folders of images
    hf/                a directory of transformers, with texts or images
    detection/         detectors of ultralytics, with data of YOLO or COCO
    extra_library.py   libraries that only some sources need

A library that is not among our dependencies is imported when its source is named. Nothing is downloaded. It
knows nothing of graphs.
"""
