"""Long responses, made and sent in chunks.

A scrape at 10,000 checks is some 30 MB, of which several copies would be held at a time. To make it in one step would
hold the interpreter while probes are due. So the parts are made one by one, and other threads may run between them.
zlib releases the interpreter while it compresses.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

SENT_AT_ONCE = 64 * 1024


async def in_chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Returns the same bytes in chunks of `SENT_AT_ONCE` or more. Other responses may be made between two chunks."""
    piece = bytearray()
    for part in parts:
        piece += part
        time.sleep(0)
        if len(piece) >= SENT_AT_ONCE:
            yield bytes(piece)
            piece.clear()
            await asyncio.sleep(0)
    if piece:
        yield bytes(piece)
