"""gRPC: the Open Inference Protocol, health and reflection, on an HTTP/2 of our own."""
