"""Follows channels through a traced graph, and fills a `channels.ChannelMap`.

Flow: `rules.follow_channels` walks through the graph once. A table gives the rule of each ATen operation; a
rule says where the channels of its output are, which parameters they touch, or that they cannot be removed.

Reading order:
    follower.py     the state that the rules share: the graph, the map, the layouts so far
    rules.py        the table of rules
    layers.py       layers, normalizations, sums
    shapes.py       views, concatenations, slices, pads
    attention.py    heads: what attention splits and joins

It does not know which channels are removed: units and groups are made of the map in `channels.py`.
"""
