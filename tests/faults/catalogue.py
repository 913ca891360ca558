"""All faults, by name."""

from collections.abc import Mapping, Sequence

from tests.faults import (
    acl_faults,
    answer_faults,
    cluster_faults,
    fleet_faults,
    key_faults,
    line_faults,
    process_faults,
)
from tests.faults.fault import Fault

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for module in (process_faults, line_faults, answer_faults, cluster_faults, key_faults, acl_faults, fleet_faults)
    for fault in module.FAULTS
}

OF_FLEETS: Sequence[Fault] = (*fleet_faults.FAULTS, FAULTS["leader-killed"])
"""What a random run of a fleet injects."""
