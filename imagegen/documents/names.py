"""Names of what is written for a cluster, below its directory in the output.

    out/icc-etcd/
        manifest.json
        members/NAME/    user-data and its companions, seed.iso, keys.iso or keys/, and a
                         folder for each target that has more than one file
        client/          what a caller of the cluster needs
        bundle.iso, snapshot.iso
        renew/, revoke/, rotate-ca/, upgrade/    scripts for running members

They stand before the targets, which write some of these files and tell of others.
"""

from __future__ import annotations

MANIFEST = "manifest.json"
MEMBERS = "members"
CLIENT = "client"

#: A member's seed as one image.
SEED = "seed.iso"
#: A member's private keys, where they travel apart from its user-data: as a disc, or as files.
KEYS_DISC = "keys.iso"
KEYS = "keys"

#: A disc for machines whose seed brings no bundle.
BUNDLE_DISC = "bundle.iso"
#: A disc with the data that a cluster begins with.
SNAPSHOT_DISC = "snapshot.iso"

RENEW = "renew"
REVOKE = "revoke"
ROTATE_CA = "rotate-ca"
UPGRADE = "upgrade"
#: Folders of scripts for running members: later commands write them, not a build.
ROLLOUTS = (RENEW, REVOKE, ROTATE_CA, UPGRADE)
#: What the operator runs on a member, in a folder of the member's name.
SCRIPT = "apply.sh"


def member_folder(name: str) -> str:
    """Where a member's files are."""
    return f"{MEMBERS}/{name}"
