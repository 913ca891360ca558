"""python-consul2's API layer (`consul.base`) over our transport: it knows endpoints and parameters.

Its client object is not used: that one reads environment variables, and lets them override what it was told. Nor is its
reading of answers, which makes objects of whatever it is given: its methods return our transport's `Response`.
"""

from consul.base import Consul

from controller.consul.transport import CurlTransport


class Endpoints:
    """Those parts of python-consul2 that are used, and all that they want of a client object."""

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
