"""Consul: the client over python-consul2 and libcurl, and what is kept alive there."""
