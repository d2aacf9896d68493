"""Reading a network: the ATen graph, its layers and blocks, how channels move through it, what a recipe
costs.
"""
