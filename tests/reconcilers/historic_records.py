"""Health records as p2 wrote them from 2015 to 2020, or as its readers take them; each says where it comes from.

The commits are square/p2's. Go's encoding/json writes the names of a struct's fields as they are, and reads them
whatever their case; the last of several wins, null changes nothing, and what the struct lacks is passed over.
"""

from typing import NamedTuple

from reconcilers.health import HealthState


class Form(NamedTuple):
    """One record of the pod `hello` on web1, and its content. `written` is in seconds since the epoch."""

    source: str
    json: str
    status: HealthState
    output: str = ""
    written: float = 0.0


PASSING, WARNING, CRITICAL, UNKNOWN = HealthState
HELLO = '"Id":"hello","Node":"web1","Service":"hello"'

FORMS = {
    "first drafts": Form(
        "pkg/kp/kv.go, early July 2015: a map of texts, so small letters; Time.String of Go",
        '{"id":"hello","node":"web1","output":"ok","service":"hello","status":"passing",'
        '"time":"2015-07-13 15:01:02.123456789 -0700 PDT"}',
        PASSING,
        "ok",
        1436824862.123456,
    ),
    "time as a text": Form(
        "pkg/kp/kv.go, 0ec8b40a, July 2015: a struct, Time still a text, no Expires",
        '{"Id":"hello","Node":"web1","Service":"hello","Status":"critical",'
        '"Output":"Get http://web1:80/_status: connection refused","Time":"2015-07-16 22:01:02.5 +0000 UTC"}',
        CRITICAL,
        "Get http://web1:80/_status: connection refused",
        1437084062.5,
    ),
    "time as a text, whole seconds": Form(
        "Go's Time.String: no fraction where it is zero, and the offset again for a zone without a name",
        '{"Id":"hello","Node":"web1","Service":"hello","Status":"passing","Output":"",'
        '"Time":"2015-07-17 03:31:02 +0530 +0530"}',
        PASSING,
        written=1437084062.0,
    ),
    "time as a text, monotonic clock": Form(
        "Go's Time.String since Go 1.9",
        '{"Id":"hello","Node":"web1","Service":"hello","Status":"passing","Output":"",'
        '"Time":"2015-07-16 22:01:02 +0000 UTC m=+0.000000001"}',
        PASSING,
        written=1437084062.0,
    ),
    "time as an empty text": Form(
        "the zero value of the struct of 0ec8b40a",
        '{"Id":"hello","Node":"web1","Service":"hello","Status":"","Output":"","Time":""}',
        UNKNOWN,
    ),
    "for a minute": Form(
        "pkg/kp/kv.go, 004d2e2b, 2015 and 2016: RFC 3339 with nanoseconds; encoding/json escapes > and &",
        '{"Id":"hello","Node":"web1","Service":"hello","Status":"passing","Output":"a \\u003e b \\u0026 é\\n",'
        '"Time":"2015-08-20T17:01:02.123456789-07:00","Expires":"2015-08-20T17:02:02.123456789-07:00"}',
        PASSING,
        "a > b & é\n",
        1440115262.123456,
    ),
    "zero Expires": Form(
        "the same; `omitempty` leaves no struct out, so a time that was not set is year 1",
        f'{{{HELLO},"Status":"passing","Output":"","Time":"2015-08-20T17:01:02Z","Expires":"0001-01-01T00:00:00Z"}}',
        PASSING,
        written=1440090062.0,
    ),
    "no Expires": Form(
        "IsStale in the same file provides for it",
        f'{{{HELLO},"Status":"warning","Output":"","Time":"2015-08-20T17:01:02Z"}}',
        WARNING,
        written=1440090062.0,
    ),
    "throttled": Form(
        "toThrottled in pkg/kp/healthmanager.go, 03d58bc8, 2016: a bare unknown, for a hundred years",
        '{"Id":"hello","Node":"web1","Service":"hello","Status":"unknown","Output":"",'
        '"Time":"2016-06-01T00:00:00.1Z","Expires":"2116-05-08T00:00:00.1Z"}',
        UNKNOWN,
        written=1464739200.1,
    ),
    "last form": Form(
        "pkg/store/consul/kv.go, 009954af, until 2020: without Output",
        '{"Id":"hello","Node":"web1","Service":"hello","Status":"critical",'
        '"Time":"2020-01-15T09:26:53.58979323+01:00","Expires":"2119-12-22T09:26:53.58979323+01:00"}',
        CRITICAL,
        written=1579076813.589793,
    ),
    "empty status": Form(
        "TestGetHealthWithEntry in pkg/kp/kv_test.go puts one; ToHealthState in pkg/health says what it means",
        f'{{{HELLO},"Status":"","Time":"2020-01-15T08:26:53Z","Expires":"2119-12-22T08:26:53Z"}}',
        UNKNOWN,
        written=1579076813.0,
    ),
    "status in capitals": Form(
        "ToHealthState: four words in small letters", f'{{{HELLO},"Status":"Passing"}}', UNKNOWN
    ),
    "status of another word": Form("ToHealthState", f'{{{HELLO},"Status":"maintenance"}}', UNKNOWN),
    "no status": Form("encoding/json: a zero value, and ToHealthState of it", f"{{{HELLO}}}", UNKNOWN),
    "nulls": Form(
        "encoding/json: null changes nothing", f'{{{HELLO},"Status":null,"Output":null,"Time":null}}', UNKNOWN
    ),
    "zero time": Form(
        "Go's zero time as RFC 3339", f'{{{HELLO},"Status":"passing","Time":"0001-01-01T00:00:00Z"}}', PASSING
    ),
    "names of Result": Form(
        "Result in pkg/health, which WatchHealth reads the same keys into, says ID for Id",
        '{"ID":"hello","Node":"web1","Service":"hello","Status":"passing"}',
        PASSING,
    ),
    "names in capitals": Form(
        "encoding/json",
        '{"ID":"hello","NODE":"web1","SERVICE":"hello","STATUS":"passing","OUTPUT":"ok"}',
        PASSING,
        "ok",
    ),
    "a name several times": Form(
        "encoding/json: the last that is not null",
        f'{{{HELLO},"Status":"critical","status":"passing","STATUS":null}}',
        PASSING,
    ),
    "fields that nobody knows": Form(
        "encoding/json passes over what the struct lacks",
        f'{{{HELLO},"Status":"passing","Weight":1e400,"Tags":[{{"Status":"critical"}}],"":[null]}}',
        PASSING,
    ),
    "no Id": Form(
        "pkg/watch/health.go: service and pod have one name",
        '{"Node":"web1","Service":"hello","Status":"passing"}',
        PASSING,
    ),
    "no Service": Form("the same", '{"Id":"hello","Node":"web1","Status":"passing"}', PASSING),
    "empty Service": Form("the same", '{"Id":"hello","Node":"web1","Service":"","Status":"passing"}', PASSING),
}
