"""Asks Consul whether keys have changed. No value is sent: Consul compares the indexes."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.json import Decoder

from controller.consul.answers import KvPair
from controller.consul.client import ConsulClient, ConsulTooLarge, Operation
from controller.consul.transport import Response
from controller.publish.batches import SizeLimit, body_size


class _Entry(Struct, frozen=True, gc=False):
    CreateIndex: int


class _Result(Struct, frozen=True):
    KV: _Entry


class _Checked(Struct, frozen=True):
    Results: list[_Result] | None


_CHECKED = Decoder(_Checked)


def are_unchanged(client: ConsulClient, pairs: Sequence[KvPair], limit: SizeLimit) -> bool:
    """Returns whether Consul surely has all these pairs, 64 at most, as they were read or written. False if a request
    for that would be too large. Every change of a pair, also of its session, changes its `modify_index`.

    Raises:
        ConsulError: Consul does not answer, or refuses the request.
    """
    checks = [Operation("check-index", pair.key, index=pair.modify_index) for pair in pairs]
    if body_size(checks) > limit.most():
        return False
    try:
        created = client.transact(checks, _created, name="read_transaction")
    except ConsulTooLarge:
        return False
    return created == [pair.create_index for pair in pairs]


def _created(answer: Response) -> Sequence[int]:
    """Returns when each key was created; nothing if a key has another index, does not exist or may not be read."""
    if answer.code == 409:
        return ()
    if answer.code != 200:
        raise ValueError(str(answer.code))
    return [each.KV.CreateIndex for each in _CHECKED.decode(answer.content).Results or ()]
