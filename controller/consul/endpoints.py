"""python-consul2's endpoints and parameters (`consul.base`) with `CurlTransport`.

Its client class is not used, because environment variables override its arguments. Its decoding of answers is not used,
because it does not check their types. The methods return the `Response` of the transport.
"""

from consul.base import Consul

from controller.consul.transport import CurlTransport


class Endpoints:
    """The endpoints that are used. `token`, `dc`, `consistency` and `http` are what they read from a client."""

    token = None
    dc = None
    consistency = "default"

    def __init__(self, http: CurlTransport) -> None:
        self.http = http
        self.kv = Consul.KV(self)
        self.txn = Consul.Txn(self)
        self.session = Consul.Session(self)
        self.agent = Consul.Agent(self)
        self.catalog = Consul.Catalog(self)
        self.status = Consul.Status(self)
