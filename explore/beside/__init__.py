"""What is built beside the search: in a process on cores that no measurement uses, or on the nodes of a Ray
cluster.

Purpose. Measuring has a machine for itself, so training and building elsewhere cost the search no time. The
search hands over recipes and asks now and then what became of them; where and how they are built it does not
know. A process or a node that is lost costs a retry, not a candidate.

Reading order
    builders.py    Builders: what the search asks of either kind; Ready: what became of a recipe
    building.py    what a child or a node does: loads the task once, then builds one recipe after the other
    messages.py    what is said between the search and those that build for it
    process.py     BuilderProcess: the process on this machine, for recoveries if there are any, else for all
    ray_builders.py  RayBuilders: the nodes of a cluster; who builds what, and what becomes of lost nodes
    ray_cluster.py the one module that imports ray: connecting, nodes, actors
    ray_actors.py  what runs on the nodes: a builder, and the store of the level database

What it does not know: which recipes are worth building, what is measured, what a trial is (../rungs).
"""
