"""The compressed torch model, and its training."""
