"""The query of a list's URL: filter, order and page."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import QueryParams

from controller.web.pod_views import PodState

COLUMNS = ("state", "pod", "node", "since", "probed", "took", "reason")
FIRST_DESCENDING = frozenset({"since", "probed", "took"})
"""Columns that are sorted in descending order at first."""
MAX_PER_PAGE = 500

Order = Literal[
    "state", "-state", "pod", "-pod", "node", "-node", "since", "-since", "probed", "-probed", "took", "-took",
    "reason", "-reason",
]  # fmt: skip
Page = Annotated[int, Field(ge=1, le=1_000_000)]
PerPage = Annotated[int, Field(ge=1, le=MAX_PER_PAGE)]


class QueryError(ValueError):
    """A query that cannot be answered. `problems` say what is wrong with each parameter, by its name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {detail}" for name, detail in problems.items()))
        self.problems = problems


class Paging(BaseModel):
    """A part of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page: Page = Field(1, description="Which page of the list; the last one where there are not so many.")
    per_page: PerPage = Field(100, description="How many entries a page has.")

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
    sort: Order = Field("state", description="By which column; with a minus sign the greatest comes first.")

    @classmethod
    def _fields(cls, parameters: QueryParams) -> dict[str, Any]:
        fields: dict[str, Any] = dict(parameters)
        if states := dict.fromkeys(state for state in parameters.getlist("state") if state):
            fields["state"] = list(states)
        else:
            fields.pop("state", None)
        return fields

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


def _problem(error: Mapping[str, Any]) -> tuple[str, str]:
    message = "no such parameter" if error["type"] == "extra_forbidden" else error["msg"].replace("Input", "it")
    return str(error["loc"][0]), message
