"""Understands a model: what its file says, and what a guarded trial run shows."""
