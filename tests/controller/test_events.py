"""The event stream: the limits for streams and events, and its end."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette

from controller.web import events
from controller.web.pod_views import PodState, PodViews
from controller.web.server import WebServer
from reconcilers.labels import NO_SELECTOR, Selector
from tests.support.net import until
from tests.support.site import Page, Site

PATH = "/api/v1/events"


class Stream:
    """One open stream, read event by event."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
        self._connection.request("GET", PATH)
        self.response = self._connection.getresponse()

    def next(self) -> dict[str, str]:
        """Returns the fields of the next event; {} at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, text = line.partition(": ")
            fields[name] = text
        return fields

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def test_a_stream_begins_with_the_totals_and_tells_of_every_change(site: Site) -> None:
    stream = Stream(site.server.port)
    assert stream.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert stream.response.headers["X-Accel-Buffering"] == "no"
    assert stream.next() == {"retry": "2000"}
    first = stream.next()
    assert (first["event"], json.loads(first["data"])["unknown"]) == ("change", 0)
    site.follow("a")
    assert json.loads(stream.next()["data"])["unknown"] == 1
    site.fails("a")
    assert json.loads(stream.next()["data"])["critical"] == 1
    site.schedule(1, torn=b"id: [\n")
    assert json.loads(stream.next()["data"])["unchecked"] == 1
    site.unready.append("the session is lost")
    assert stream.next()["event"] == "change"
    stream.close()


def test_a_storm_of_changes_is_an_event_a_second(site: Site) -> None:
    site.follow("a")
    stream = Stream(site.server.port)
    stream.next()
    stream.next()
    began = time.monotonic()
    done = threading.Event()

    def storm() -> None:
        while not done.wait(0.01):
            site.passes("a")
            site.fails("a")

    with ThreadPoolExecutor(1) as pool:
        storming = pool.submit(storm)
        came: list[float] = []
        while len(came) < 4:
            assert stream.next()["event"] == "change"
            came.append(time.monotonic() - began)
        done.set()
        storming.result()
    assert came[-1] > 2.5, "four of them, and hundreds of changes"
    stream.close()


class Counted(PodViews):
    """Counts the calls of `totals`."""

    counted = 0

    def totals(self, wanted: Selector = NO_SELECTOR) -> Mapping[PodState, int]:
        self.counted += 1
        return super().totals(wanted)


def test_the_pods_are_counted_once_for_all_streams(site: Site) -> None:
    site.follow("a")
    fleet = Counted(site.healths, site.manifests, flapping=dict, published=lambda _: None)
    server = WebServer(Starlette(routes=[events.Events(fleet, lambda: ()).route()]), "127.0.0.1", 0)
    server.start()
    streams = [Stream(server.port) for _ in range(events.STREAMS)]
    for stream in streams:
        stream.next()
        assert stream.next()["event"] == "change"
    assert fleet.counted == 1
    site.fails("a")
    for stream in streams:
        assert json.loads(stream.next()["data"])["critical"] == 1
        stream.close()
    assert fleet.counted == 2
    server.stop()


def test_the_id_of_an_event_is_what_the_page_says_of_itself(site: Site) -> None:
    site.follow("a")
    site.passes("a")
    stream = Stream(site.server.port)
    stream.next()
    mark = stream.next()["id"]
    stream.close()
    page = Page(site.get("/")[1])
    assert mark in [attributes.get("data-mark") for _, attributes in page.tags]
    site.fails("a")
    assert f'data-mark="{mark}"' not in site.get("/")[1]


def test_streams_are_few_and_others_are_asked_to_come_later(site: Site) -> None:
    streams = [Stream(site.server.port) for _ in range(events.STREAMS)]
    assert {stream.response.status for stream in streams} == {200}
    response, text = site.get(PATH)
    assert response.status == 503
    assert response.headers["Retry-After"] == "30"
    assert json.loads(text)["detail"] == f"{events.STREAMS} streams are open, of {events.STREAMS} that may be"
    assert site.get("/metrics")[0].status == 200
    streams.pop().close()

    def there_is_room() -> bool:
        stream = Stream(site.server.port)
        streams.append(stream)
        return stream.response.status == 200

    until(there_is_room, 20, "the place of a stream that was left is free")
    for stream in streams:
        stream.close()


def test_who_holds_most_streams_gives_up_the_oldest_for_who_has_fewer(site: Site) -> None:
    greedy = [Stream(site.server.port) for _ in range(events.STREAMS)]
    others = [Stream(site.server.port, f"127.0.0.{1 + number}") for number in range(1, 4)]
    assert {stream.response.status for stream in others} == {200}
    for stream in greedy[: len(others)]:
        assert stream.next() == {"retry": "2000"}
        assert stream.next()["event"] == "change"
        assert stream.next() == {}
        stream.close()
    assert site.get(PATH)[0].status == 503
    for stream in (*greedy[len(others) :], *others):
        assert (stream.next(), stream.next()["event"]) == ({"retry": "2000"}, "change")
        stream.close()


def test_a_stream_ends_with_the_server_and_does_not_delay_it() -> None:
    with Site() as site:
        stream = Stream(site.server.port)
        stream.next()
        stream.next()
        started = time.monotonic()
        site.server.stop(timeout=15.0)
        assert time.monotonic() - started < 8  # usually 0.3
        assert stream.next() == {}
        stream.close()


def test_a_stream_is_kept_alive_and_ends_after_its_time(site: Site) -> None:
    """The clock runs so fast that a minute takes a second."""
    hasty = events.Events(site.fleet, lambda: (), clock=lambda: 60 * time.monotonic())
    server = WebServer(Starlette(routes=[hasty.route()]), "127.0.0.1", 0)
    server.start()
    stream = Stream(server.port)
    stream.next()
    stream.next()
    assert stream.next() == {"": "still here"}
    until(lambda: stream.next() == {}, 30, "the stream ends")
    stream.close()
    server.stop()
