"""A PNG of at most 256 colours, which is a third as large as what a browser writes."""

import struct
import zlib
from base64 import b64decode, b64encode

from tests.support.browser import Browser

INDEXED = """
const image = new Image();
image.src = "data:image/png;base64," + arguments[0];
return image.decode().then(() => {
    const {width, height} = image;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
    const counts = new Map();
    for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
    const split = (pixel) => [pixel & 255, pixel >> 8 & 255, pixel >> 16 & 255];
    const palette = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 256).map(([pixel]) => split(pixel));
    const nearest = new Map();
    for (const pixel of counts.keys()) {
        const [red, green, blue] = split(pixel);
        const distances = palette.map(([r, g, b]) => (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2);
        nearest.set(pixel, distances.indexOf(Math.min(...distances)));
    }
    let indexes = "";
    for (const pixel of pixels) indexes += String.fromCharCode(nearest.get(pixel));
    return [width, height, palette.flat(), btoa(indexes)];
});
"""


def small(picture: bytes, browser: Browser) -> bytes:
    """Returns a PNG with the most frequent colours of a picture. A pixel of another colour gets the nearest one."""
    width, height, palette, indexes = browser.evaluate(INDEXED, b64encode(picture).decode())
    pixels = b64decode(indexes)
    rows = b"".join(b"\0" + pixels[start : start + width] for start in range(0, len(pixels), width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (b"IHDR", header), (b"PLTE", bytes(palette)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
