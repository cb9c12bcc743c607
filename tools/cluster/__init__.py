"""A Kubernetes cluster of one node on this machine, for `make test-cluster`.

    python -m tools.cluster build     its programs, from source, once; takes half an hour and more on two cores
    python -m tools.cluster up        the cluster; prints where its kubeconfig files lie
    python -m tools.cluster down      ends it and restores what it changed; may be called at any time, and twice

As root, on Debian 12. Everything listens on 127.0.0.1 or on addresses of links that the cluster made itself.
"""
