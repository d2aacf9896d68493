"""The fake TensorRT for RTX."""

from fake_tensorrt import api

globals().update(api("1.7.1", rtx=True))
