"""Long responses, made and sent in chunks.

A scrape at 10,000 checks is some 30 MB, of which several copies would be held at a time. To make it in one step would
hold the interpreter while probes are due. So the parts are made one by one, and other threads may run between them.
zlib releases the interpreter while it compresses.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator

SENT_AT_ONCE = 64 * 1024
GZIP_LEVEL = 1
"""The text of metrics is repetitive: higher levels take several times as long and save little."""
GZIP_FORMAT = 16 + zlib.MAX_WBITS


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


def gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Returns the parts compressed, and one more for the end. Many of them are empty."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
    for part in parts:
        yield compressor.compress(part)
    yield compressor.flush()
