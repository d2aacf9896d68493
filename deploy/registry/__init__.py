"""Bundles in a registry, so that a deployment asks for a name and gets the model that holds it now.

Purpose. A bundle of `pick` becomes a version of a name, in MLflow or in a folder (local, or wherever fsspec
reaches). What is in a bundle decides which version it is: the same bundle pushed twice is one version.

Flow: `push.push_bundle` → `content.py` (the bundle, verified and copied aside) → `tracking.py` (MLflow) or
`folders.py` (files below versions/DIGEST, then `index.py`, which is written last).

Reading order
    address.py    `mlflow:NAME`, `dir:/models/NAME`, `s3://bucket/NAME`
    content.py    the files of a bundle with their digests, and the digest of all
    push.py       push_bundle, for the command line and for nightly runs
    folders.py    a folder as a registry; index.py: its index.json
    tracking.py   MLflow; described.py: a bundle's numbers as parameters and metrics

Where a registry is, and its credentials, come from the caller and the environment, never from a bundle or a
run. It does not know how bundles are made or measured.
"""

from .push import Pushed, push_bundle

__all__ = ["Pushed", "push_bundle"]
