"""Long answers, made and sent a little at a time.

The whole of a scrape at 10,000 checks would be some 30 MB, held several times over; who makes it in one go holds
the interpreter while probes are due. So the parts are made one by one, and between two of them others may run. zlib
lets go of the interpreter while it compresses.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator

SENT_AT_ONCE = 64 * 1024
GZIP_LEVEL = 1
"""The text of metrics repeats itself: higher levels take several times as long and save little."""
GZIP_FORMAT = 16 + zlib.MAX_WBITS


async def gathered(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth sending. Between two pieces, other answers are made."""
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


def gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same, compressed; as many parts and one more, of which many are empty."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
    for part in parts:
        yield compressor.compress(part)
    yield compressor.flush()
