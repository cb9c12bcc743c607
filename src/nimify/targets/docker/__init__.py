"""The `docker` target: one hardened container on a Docker engine, driven through the `docker` command."""
