"""A gzip file made of pieces. A piece that was compressed for one file can be copied into another one.

Each piece ends with a full flush: its last byte is complete, and no later piece refers to it. The checksum of the file
is computed from the checksums of the pieces.

Formats: RFC 1951 (deflate) and RFC 1952 (gzip).
"""

import zlib
from typing import NamedTuple

LEVEL = 1
"""The text of metrics is repetitive: higher levels take several times as long and save little."""
HEADER = b"\x1f\x8b\x08" + bytes(5) + b"\x04\xff"
"""Deflate, no name, no time, the fastest level, an unknown system."""
ZEROS = memoryview(bytes(64 * 1024))


class Piece(NamedTuple):
    """A compressed piece. `size` is the length of its text. `effect` is how the checksum of a file changes when this
    text replaces zeros."""

    data: bytes
    size: int
    effect: int


class GzipStream:
    """One file: `HEADER`, then the results of `add` and `copy` in their order, then that of `end`."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._size = self._checksum = 0

    def add(self, text: bytes) -> bytes:
        """Adds `text`. Returns its bytes in the file."""
        self._size += len(text)
        self._checksum = zlib.crc32(text, self._checksum)
        return self._compress(text)

    def piece(self, text: bytes) -> Piece:
        """Returns `text` compressed, for `copy` in this file and in others."""
        return Piece(self._compress(text), len(text), zlib.crc32(text) ^ _with_zeros(0, len(text)))

    def copy(self, piece: Piece) -> bytes:
        """Adds a piece. Returns its bytes in the file."""
        self._size += piece.size
        self._checksum = _with_zeros(self._checksum, piece.size) ^ piece.effect
        return piece.data

    def end(self) -> bytes:
        """Returns the end of the file."""
        trailer = self._checksum.to_bytes(4, "little") + (self._size % 2**32).to_bytes(4, "little")
        return self._compressor.flush() + trailer

    def _compress(self, text: bytes) -> bytes:
        return self._compressor.compress(text) + self._compressor.flush(zlib.Z_FULL_FLUSH)


def _with_zeros(checksum: int, size: int) -> int:
    """Returns the checksum of a text with this checksum, followed by `size` zero bytes. The checksum is linear: when
    other bytes replace the zeros, it changes in a way that does not depend on the text before them."""
    for start in range(0, size, len(ZEROS)):
        checksum = zlib.crc32(ZEROS[: size - start], checksum)
    return checksum
