"""Modules that `make protos` generates from protos/."""
