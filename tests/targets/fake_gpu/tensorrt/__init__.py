"""The fake TensorRT of the version in FAKE_TENSORRT (8.5.3, 8.6.1, 10.3.0, 11.4.0)."""

import os

from fake_tensorrt import api

globals().update(api(os.environ.get("FAKE_TENSORRT", "10.3.0")))
