"""The meaning of a fuzzer's bytes: an answer, and where it is split."""

from collections.abc import Iterator, Sequence

import atheris


def answer_from(provider: atheris.FuzzedDataProvider, pieces: Sequence[bytes]) -> bytes:
    """Returns `pieces` in any order, with any bytes between them. Most answers of random bytes alone end at the first
    one."""
    answer = bytearray()
    for _ in range(provider.ConsumeIntInRange(0, 20)):
        number = provider.ConsumeIntInRange(0, len(pieces))
        answer += provider.ConsumeBytes(provider.ConsumeIntInRange(0, 40)) if number == len(pieces) else pieces[number]
    if answer and provider.ConsumeBool():
        answer[provider.ConsumeIntInRange(0, len(answer) - 1)] = provider.ConsumeIntInRange(0, 255)
    return bytes(answer)


def parts(provider: atheris.FuzzedDataProvider, data: bytes) -> Iterator[bytes]:
    """Yields `data` in parts, at first of any length, then of one length."""
    step = provider.ConsumeIntInRange(1, 999)
    while data:
        length = provider.ConsumeIntInRange(1, 64) if provider.remaining_bytes() else step
        yield data[:length]
        data = data[length:]
