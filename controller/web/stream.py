"""Long answers, made and sent a little at a time.

The whole of a scrape at 10,000 checks would be some 30 MB, held several times over; who makes it in one go holds
the interpreter while probes are due. So the parts are made one by one, and between two of them others may run.
"""

import time
from collections.abc import AsyncIterator, Iterable

SENT_AT_ONCE = 64 * 1024


async def gathered(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth sending."""
    piece = bytearray()
    for part in parts:
        piece += part
        time.sleep(0)
        if len(piece) >= SENT_AT_ONCE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
