"""OpenVINO on the CPU.

runtime.py compiles a model for the shapes of its inputs. layers.py marks operations with the names of their
layers, because OpenVINO fuses and renames them, and so knows the precision and the time of each layer.

What it does not know: which layers a model was compressed in; it is told their names.
"""
