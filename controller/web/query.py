"""The query of a list's URL: filter, order and page."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import QueryParams

from controller.web.pod_views import PodState
from reconcilers import labels

COLUMNS = ("state", "pod", "node", "since", "probed", "took", "reason")
FIRST_DESCENDING = frozenset({"since", "probed", "took"})
"""Columns that are sorted in descending order at first."""
MAX_PER_PAGE = 500
MAX_CONDITIONS = 50

Order = Literal[
    "state", "-state", "pod", "-pod", "node", "-node", "since", "-since", "probed", "-probed", "took", "-took",
    "reason", "-reason",
]  # fmt: skip
Page = Annotated[int, Field(ge=1, le=1_000_000)]
PerPage = Annotated[int, Field(ge=1, le=MAX_PER_PAGE)]


def _condition(text: str) -> str:
    labels.selector([text])
    return text


Conditions = Annotated[tuple[Annotated[str, AfterValidator(_condition)], ...], Field(max_length=MAX_CONDITIONS)]
OF_LABELS = (
    "Only pods with this label, as `team=shop`; `team=` for those without it. Of several values of one name, a pod has "
    "one; of several names, all."
)


class QueryError(ValueError):
    """A query that cannot be answered. `problems` say what is wrong with each parameter, by its name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {detail}" for name, detail in problems.items()))
        self.problems = problems


class Query(BaseModel):
    """The parameters of a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, parameters: QueryParams) -> Self:
        """Returns the query of a URL. Raises QueryError, which names all invalid parameters."""
        try:
            return cls.model_validate(cls._fields(parameters))
        except ValidationError as error:
            raise QueryError(dict(_problem(each) for each in error.errors(include_url=False))) from None

    @classmethod
    def lenient(cls, parameters: QueryParams) -> Self:
        """Like `parse`, but ignores invalid parameters, for the pages."""
        fields = cls._fields(parameters)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            wrong = {each["loc"][0] for each in error.errors()}
            return cls.model_validate({name: value for name, value in fields.items() if name not in wrong})

    @classmethod
    def _fields(cls, parameters: QueryParams) -> dict[str, Any]:
        """Returns the parameters by name. The last one counts if one is given several times."""
        return dict(parameters)


class Paging(Query):
    """A part of a list."""

    page: Page = Field(1, description="Which page of the list; the last one where there are not so many.")
    per_page: PerPage = Field(100, description="How many entries a page has.")

    def within(self, entries: int) -> Self:
        """Returns the same with the last page of so many entries, instead of a page beyond it."""
        return self.model_copy(update={"page": min(self.page, self.pages(entries))})

    def pages(self, entries: int) -> int:
        """Returns the number of pages. An empty list has one."""
        return max(1, -(-entries // self.per_page))

    @property
    def start(self) -> int:
        """The position of the first entry of the page."""
        return (self.page - 1) * self.per_page

    @property
    def entries(self) -> slice:
        """The entries of the page."""
        return slice(self.start, self.start + self.per_page)

    def url(self, **changes: Any) -> str:
        """Returns the URL's query from `?` on, with some changes and without defaults. Without `page` it is page 1."""
        said = self.model_copy(update={"page": 1, **changes}).model_dump(exclude_defaults=True)
        return f"?{urlencode(said, doseq=True)}"


class PodQuery(Paging):
    """Filter, order and page of the list of pods."""

    state: tuple[PodState, ...] = Field((), description="Only pods in one of these states; may be given several times.")
    q: str = Field(
        "", max_length=200, description="Only pods of whose pod, node or reason each of these words is a part."
    )
    label: Conditions = Field((), description=OF_LABELS)
    noted: bool = Field(False, description="Only pods with a note.")
    sort: Order = Field("state", description="By which column; with a minus sign the greatest comes first.")

    @classmethod
    def _fields(cls, parameters: QueryParams) -> dict[str, Any]:
        return _with_lists(parameters, "state", "label")

    @property
    def selector(self) -> labels.Selector:
        return labels.selector(self.label)

    def narrowed_to(self, label: str) -> str:
        """Returns the query for pods with this label, instead of other values of the same name."""
        others = [each for each in self.label if each.partition("=")[0] != label.partition("=")[0]]
        return self.url(label=(*others, label))

    def without(self, label: str) -> str:
        """Returns the query without this condition."""
        return self.url(label=tuple(each for each in self.label if each != label))

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    def sorted_by(self, column: str) -> str:
        """Returns the query that sorts by `column`, in the reverse order if it is sorted by that column."""
        descending = not self.descending if column == self.column else column in FIRST_DESCENDING
        return self.url(sort=f"-{column}" if descending else column)


class EventQuery(Query):
    """Which pods a stream of events counts. Other parameters are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    label: Conditions = Field((), description=OF_LABELS)

    @classmethod
    def _fields(cls, parameters: QueryParams) -> dict[str, Any]:
        return _with_lists(parameters, "label")


def _with_lists(parameters: QueryParams, *names: str) -> dict[str, Any]:
    """Returns the parameters by name, with a list for each of `names` that is given and not empty."""
    fields: dict[str, Any] = dict(parameters)
    for name in names:
        fields.pop(name, None)
        if values := dict.fromkeys(filter(None, parameters.getlist(name))):
            fields[name] = list(values)
    return fields


def _problem(error: Mapping[str, Any]) -> tuple[str, str]:
    message = "no such parameter" if error["type"] == "extra_forbidden" else error["msg"].replace("Input", "it")
    message = message.removeprefix("Value error, ")
    return str(error["loc"][0]), message
