"""The URLs to check without manifests: those of the configuration, and those of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from controller.runtime.plain_files import contents
from reconcilers.spec import PodKey
from reconcilers.urls import UrlCheck, UrlError, checks_of, listed


def read_urls(urls: Sequence[str], file: Path | None) -> Mapping[PodKey, UrlCheck]:
    """Returns the checks of `urls`, and of the URLs in a file, one on each line.

    Raises:
        ValueError: the file cannot be read, or a URL cannot be checked. The message names the file and the URL.
    """
    in_file = listed(contents(str(file)).decode("utf-8", "replace")) if file else []
    try:
        checks_of(in_file)
    except UrlError as error:
        raise ValueError(f"{file}: {error}") from None
    return checks_of([*urls, *in_file])
