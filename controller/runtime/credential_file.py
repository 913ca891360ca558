"""Reads files with a password or a token, which must be in one folder of the operator."""

import os

from controller.runtime.plain_files import Stamp, read

MAX_SIZE = 4096
"""Bytes of a file."""


def credential(file: str, folder: str) -> tuple[str, Stamp]:
    """Returns the password or token in `file`, without one line end after it, and the stamp of the file.

    Raises:
        ValueError: the file cannot be read or used, or is not below `folder` where its links lead. The message names
            the file, and shows nothing of its content.
    """
    real, root = os.path.realpath(file), os.path.realpath(folder)
    if os.path.commonpath([real, root]) != root:
        raise ValueError(f"{file}: leads to a file that is not below {folder}, the controller's credentials_dir")
    try:
        content = read(real, MAX_SIZE)
    except ValueError as error:
        raise ValueError(f"{file}: {str(error).removeprefix(f'{real}: ')}") from None
    try:
        text = content.data.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise ValueError(f"{file}: expected text in UTF-8") from None
    if not text or not text.isprintable():
        raise ValueError(f"{file}: expected one line of printable text")
    return text, content.stamp


def unusable(file: str, folder: str) -> str:
    """Returns why the file cannot be used, as `credential` says it; "" if it can."""
    try:
        credential(file, folder)
    except ValueError as error:
        return str(error).removeprefix(f"{file}: ")
    return ""
