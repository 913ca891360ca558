"""p2's other kind of pod: several of one name on one node, told apart by a UUID.

Its intent key holds only a pointer to the manifest, which stands in `pods/<uuid>`. p2 neither checks such a pod nor
shows it, and neither do we: whoever lists intent skips these entries and counts them.
"""

import re

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
POINTER = re.compile(rb'\s*\{\s*"pod_key"\s*:\s*"([0-9a-fA-F-]{36})"\s*\}\s*')


def is_uuid_pod(name: str, value: bytes) -> bool:
    """Whether the last segment of an intent key, and the value there, are those of a UUID pod.

    Both must be: a pod that merely has a UUID as its name, with a manifest at its key, is an ordinary one.
    """
    return bool(UUID.fullmatch(name) and (found := POINTER.fullmatch(value)) and UUID.fullmatch(found[1].decode()))
