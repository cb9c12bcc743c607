"""The HTTP/1.1 front of the service: bytes to requests, routes, and answers back to bytes."""
