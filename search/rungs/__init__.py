"""The strategy of the `front` sampler: rungs r0 to r3, and the tables that guide it."""
