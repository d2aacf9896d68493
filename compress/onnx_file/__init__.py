"""The file: exported once, edited for every candidate, its numbers encoded as a format wants them."""
