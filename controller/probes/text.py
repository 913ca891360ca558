"""Makes text from a target safe for a log, a page, a terminal and JSON."""


def sound(text: str) -> str:
    """Returns `text` with U+FFFD for everything that is not a printable character.

    Lone surrogates stand for bytes that are not UTF-8. They cannot be encoded.
    """
    if text.isprintable():
        return text
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in whole)
