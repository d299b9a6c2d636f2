"""Real virtual machines, to prove what imagegen promises of their first boot.

    host      what this needs of the machine it runs on
    image     a plain Debian disk for the guests, and the packages they install
    network   one LAN in a namespace, with no way out
    machine   one virtual machine: power, disks, serial console, guest agent
    cluster   the members of one imagegen output directory
    site      an image, a LAN and a folder to build in
    drill     what can happen to a cluster, and what its owner would see
    scenario  clusters that come about in other ways
    report    what a run showed

Needs root and a Debian host; works without KVM. `python -m tests.machines --help`.
"""
