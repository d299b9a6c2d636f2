"""Real etcd, run with what `imagegen build` wrote, as its members would run it.

    brought       certificates an operator might bring along
    lab           machines of namespaces, on a LAN of their own
    test_cluster  what is promised of the clusters they form

Needs root, and the programs that `.ci/tools` fetches on PATH.
"""
