"""Keys that are not manifests of pods to check: counts by reason, and the names that are not valid for a pod."""

import logging
from collections import Counter
from collections.abc import Mapping

from reconcilers.escaping import quoted
from reconcilers.ignored import Ignored

log = logging.getLogger(__name__)

MAX_NAMED = 5
MAX_NAME = 40


class IgnoredKeys:
    """The ignored keys of the last listing. The watch writes them, and any thread may read them."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._counts: Counter[Ignored] = Counter()

    def replace(self, ignored: Mapping[str, Ignored]) -> None:
        """Take over the ignored keys of a listing. New names that are not valid for a pod are logged."""
        names = sorted(name for name, reason in ignored.items() if reason is Ignored.NAME)
        news = bool(set(names) - set(self._names))
        self._names, self._counts = names, Counter(ignored.values())
        if news:
            log.warning("%s", self.notice())

    def count(self, reason: Ignored) -> int:
        """The number of keys that are ignored for this reason."""
        return self._counts[reason]

    def notice(self) -> str:
        """A sentence about the pods that are not checked because of their names, or "" if there are none."""
        names = self._names
        if not names:
            return ""
        shown = ", ".join(quoted(name, MAX_NAME) for name in names[:MAX_NAMED])
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        pods = "pod is" if len(names) == 1 else "pods are"
        return (
            f"{len(names)} {pods} not checked because of the name: {shown}{more}; "
            "expected letters, digits, '.', '_' and '-', with a letter or digit first"
        )
