"""The fleet in the API: its members, who checks which node, and a search of pods on all nodes."""

from pydantic import AliasPath, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.members.fleet_reader import FoundPod
from controller.web.api.models import Count, Instant, Model, OfPod, Page, SoundText
from controller.web.fleet import Fleet, FleetQuery, PodSearch, required
from controller.web.responses import API, json_answer
from reconcilers.fleet_overview import MemberState
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord


class ShareOfFleet(Model):
    """What a part of the fleet has in pods."""

    pods: Count = Field(description="Pods with a published record.")
    critical: Count = Field(validation_alias=AliasPath("states", "critical"))
    unknown: Count = Field(validation_alias=AliasPath("states", "unknown"))
    warning: Count = Field(validation_alias=AliasPath("states", "warning"))
    passing: Count = Field(validation_alias=AliasPath("states", "passing"))


class Member(ShareOfFleet):
    """A controller of the fleet and its share."""

    id: SoundText
    state: MemberState = Field(description="Only a `member` checks pods.")
    page: SoundText = Field(description='The URL of its page; "" where it has none that can be linked.')
    detail: SoundText = Field(description='Why it is not a member, or what is wrong with it; "" if nothing is.')
    version: SoundText
    started: Instant
    nodes: Count


class NodeOfFleet(ShareOfFleet):
    """A node and the member that checks it."""

    node: str
    member: SoundText = Field(description='"" if no member checks it.')


class FleetShares(Page):
    """The members of a fleet, and one page of its nodes, the worst first."""

    fleet: str = Field(validation_alias=AliasPath("overview", "fleet"))
    view_index: int = Field(
        validation_alias=AliasPath("overview", "index"),
        description="Consul's index of the membership that this controller knows.",
    )
    pods: Count = Field(
        validation_alias=AliasPath("overview", "pods"), description="Pods with a published record, of all nodes."
    )
    pods_read: Count = Field(
        validation_alias=AliasPath("overview", "read"),
        description="Of how many pods the state was read; the states of members and nodes count only these.",
    )
    members: list[Member] = Field(validation_alias=AliasPath("overview", "members"))
    nodes: list[NodeOfFleet]


class PodOfFleet(OfPod):
    """A pod of any node with its published record."""

    status: HealthState | None = Field(description="null if the record cannot be read.")
    reason: Reason
    detail: SoundText
    since: Instant
    last_probe: Instant
    member: SoundText = Field(description='The member that checks it; "" if there is none.')
    page: SoundText = Field(description='The URL of that member\'s page of this pod; "" where there is none.')

    @classmethod
    def of_found(cls, found: FoundPod) -> "PodOfFleet":
        record = found.record or HealthRecord(found.key, HealthState.UNKNOWN)
        fields = {
            "node": found.key.node,
            "pod": found.key.pod,
            "status": record.status if found.record else None,
            "reason": record.reason,
            "detail": record.detail,
            "since": record.since,
            "last_probe": record.last_probe,
            "member": found.member,
            "page": found.pod_page,
        }
        return cls.model_validate(fields)


class FoundPods(Page):
    """One page of the pods of the whole fleet that were searched for."""

    pods: list[PodOfFleet]


class FleetApi:
    """Answers requests about `fleet`; None for a controller of one node."""

    def __init__(self, fleet: Fleet | None, node: str) -> None:
        self._fleet = fleet
        self._node = node

    def routes(self) -> list[Route]:
        return [Route(f"{API}/fleet", self._shares), Route(f"{API}/fleet/pods", self._pods)]

    async def _shares(self, request: Request) -> Response:
        page = await required(self._fleet, self._node).page(FleetQuery.parse(request.query_params))
        return json_answer(FleetShares.model_validate(page))

    async def _pods(self, request: Request) -> Response:
        found = await required(self._fleet, self._node).search(PodSearch.parse(request.query_params))
        fields = {
            "matching": found.matching,
            "page": found.paging.page,
            "pages": found.pages,
            "per_page": found.paging.per_page,
            "pods": [PodOfFleet.of_found(each) for each in found.pods],
        }
        return json_answer(FoundPods.model_validate(fields))
