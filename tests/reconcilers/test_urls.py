"""Checks from URLs: names of nodes and pods, manifests, and what cannot be checked."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import PodKey, is_name
from reconcilers.urls import MAX_SLUG, UrlError, checks_of, listed


def pods(*urls: str) -> dict[str, str]:
    """By pod, the URL of the check that its manifest makes."""
    found = {}
    for key, check in checks_of(urls).items():
        spec = parse(key, check.manifest, Rules()).check
        assert spec
        found[str(key)] = spec.probe.url
    return found


@pytest.mark.parametrize(
    ("url", "key", "checked"),
    [
        ("https://shop.example/health", "shop.example/https-health", "https://shop.example:443/health"),
        ("https://shop.example", "shop.example/https", "https://shop.example:443/"),
        ("http://shop.example:8080/a/b?c=1", "shop.example/http-8080-a-b-c-1", "http://shop.example:8080/a/b?c=1"),
        ("http://127.0.0.1:80/", "127.0.0.1/http", "http://127.0.0.1:80/"),
        ("tcp://db.example:5432", "db.example/tcp-5432", "tcp://db.example:5432"),
        ("tls://ldap.example:636", "ldap.example/tls-636", "tls://ldap.example:636"),
        ("grpc://search.example:9000", "search.example/grpc-9000", "grpc://search.example:9000/"),
        ("grpcs://search.example:443/a.B", "search.example/grpcs-443-a-B", "grpcs://search.example:443/a.B"),
        ('http://web1/"%22#x', "web1/http-22", "http://web1:80/%22%22"),
    ],
)
def test_a_url_is_a_pod_on_the_node_that_it_names(url: str, key: str, checked: str) -> None:
    assert pods(url) == {key: checked}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("shop.example", "expected a URL such as"),
        ("ftp://shop.example/", "expected a URL such as"),
        ("https:///health", "expected a URL such as"),
        ("https://shop.example:99999/", "Port out of range"),
        ("https://shop.example:0/", "expected a port"),
        ("tcp://db.example", "expected a port, as in tcp://db.example:9000"),
        ("tcp://db.example:5432/x", "expected no path, because TCP has none"),
        ("tls://db.example:5432/x", "expected no path, because TLS has none"),
        ("https://[::1]/", "expected the name or IPv4 address of a host, got '::1'"),
        ("https://a b/", "printable characters without blanks"),
        ("https://a\n/", "printable characters without blanks"),
        (f"https://a/{'x' * 2000}", "at most 2000"),
        ("https://[a/", "Invalid IPv6 URL"),
    ],
)
def test_a_url_that_cannot_be_checked_is_an_error_with_what_was_expected(url: str, problem: str) -> None:
    with pytest.raises(UrlError, match=problem):
        checks_of([url])


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UrlError, match="expected no user or password") as caught:
        checks_of(["https://me:s3cret@shop.example/"])
    assert "s3cret" not in str(caught.value)


def test_urls_whose_pods_would_have_the_same_name_get_digests_whatever_their_order() -> None:
    urls = ["http://web1/a-b", "http://web1/a/b", "http://web1/c", "http://web1/c"]
    found = checks_of(urls)
    assert found == checks_of(reversed(urls))
    assert PodKey("web1", "http-c") in found
    assert len(found) == 3
    assert all(key.pod == "http-c" or key.pod.startswith("http-a-b-") for key in found)


def test_a_file_has_one_url_on_each_line() -> None:
    assert listed("# ours\n\n  http://a/ \r\nhttp://b/\n#http://c/") == ["http://a/", "http://b/"]


HOSTS = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)


SCHEMES = st.sampled_from(["http", "https"])
URLS = st.builds("{}://{}:{}/{}".format, SCHEMES, HOSTS, st.integers(1, 65_535), st.text())


@given(st.lists(URLS))
def test_every_accepted_url_is_one_pod_with_a_valid_manifest(urls: list[str]) -> None:
    accepted = []
    for url in urls:
        try:
            checks_of([url])
        except UrlError:
            continue
        accepted.append(url)
    found = checks_of(accepted)
    assert len(found) == len(set(accepted))
    for key, check in found.items():
        assert is_name(key.pod)
        assert len(key.pod) <= MAX_SLUG + 9
        spec = parse(key, check.manifest, Rules()).check
        assert spec
        assert spec.probe.port in {urlsplit(url).port for url in accepted}
