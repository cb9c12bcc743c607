"""The `process` target: a service of this machine that is watched, restarted, and replaced without losing a request.

A supervisor that outlives the command holds the listening socket. `nimify serve` gets it passed, accepts connections
only when its model is loaded, and hands over to its successor by simply stopping: the socket, and the connections that
wait in it, stay.
"""
