"""From the user's module to an ATen graph in which layers can be seen.

Flow: `trace.trace` takes a plain copy of the model (`tasks.plain`), gives torch's attention modules a plain
form, exports it with torch.export, drops conversions that do nothing, lets no view depend on how its tensor
lies in memory and no operation write into its input, makes linear layers of products with parameters, and
stores what layers compute from parameters alone as parameters.

Reading order:
    trace.py            the export, and what the graph does not read
    conversions.py      conversions to the type that a tensor has, and views that depend on its layout
    in_place.py         operations that write into their input
    unbatched.py        layers of a model that takes single samples
    products.py         products with a parameter as linear layers
    computed.py         weights and biases that the model computes from its parameters at each call
    origin.py           the line of the user's code that an operation comes from
    attention_form.py   torch's attention module in a form that can be followed

It does not know layers, channels or blocks: those are read from the graph that it makes.
"""
