"""The running service: engines, batching, protocols, limits and its life from start to drain.

It reads a bundle through `spec.ServiceSpec` and knows nothing of the side that builds bundles, so that the runtime
image can leave all of that out.
"""
