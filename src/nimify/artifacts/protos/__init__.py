"""Modules generated from `protos/` by `make protos`."""
