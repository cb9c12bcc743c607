"""Triton as the engine: a `tritonserver` process of our own behind our front (docs/architecture/04-triton.md)."""
