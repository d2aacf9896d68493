"""The latency model: what a candidate will take, learned from whole models."""
