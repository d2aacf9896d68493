"""Weights of every level, reconstructed from the statistics of each layer's input."""
