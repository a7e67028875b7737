"""Hierarchical VAEs; not called after the function ``nvae``, as with the other models' files."""
