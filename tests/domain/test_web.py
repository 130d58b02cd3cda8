"""How URLs are written and read, which addresses may be asked, and what belongs to a crawl."""

import ipaddress

import pytest

from domain.errors import UrlInvalid
from domain.web import RobotsRule, Scope, follow, is_fetchable, normalise, robots_rule, title


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("http://example.com:8080/a", "http://example.com:8080/a"),
        ("http://example.com./a", "http://example.com/a"),
        ("http://example.com/a#part", "http://example.com/a"),
        ("http://example.com/a/../b/./c", "http://example.com/b/c"),
        ("http://example.com/a/%2e%2E/b", "http://example.com/b"),
        ("http://example.com/../../a", "http://example.com/a"),
        ("http://example.com/%7euser/%c3%a4", "http://example.com/~user/%C3%A4"),
        ("http://example.com/ä?q=ü", "http://example.com/%C3%A4?q=%C3%BC"),
        ("http://example.com/50%", "http://example.com/50%25"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://Bücher。example/", "http://xn--bcher-kva.example/"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
        ("http://\uff11\uff12\uff17.0.0.1/", "http://127.0.0.1/"),
        ("http://[2001:DB8::0:1]/", "http://[2001:db8::1]/"),
        ("http://[::ffff:127.0.0.1]:8080/", "http://127.0.0.1:8080/"),
        ("http://intranet/wiki", "http://intranet/wiki"),
        ("  http://example.com/a  ", "http://example.com/a"),
    ],
)
def test_a_url_has_one_form(given: str, written: str) -> None:
    assert normalise(given) == written
    assert normalise(written) == written


@pytest.mark.parametrize(
    "given",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "javascript:alert(1)",
        "data:text/plain,hello",
        "http://",
        "http:///path",
        "http://user:password@example.com/",
        "http://example.com@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://127.0.0.1\\@example.com/",
        "http://example.com\\.evil.com/",
        "http://exam\nple.com/",
        "http://example.com/\r\nHost: evil",
        "http://exa mple.com/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1.1/",
        "http://127.0.0.256/",
        "http://1.2.3.4.0x/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1/",
        "http://[v1.fe80]/",
        "http://%6c%6fcalhost/",
        "http://example.com:port/",
        "http://example.com:99999/",
        "http://" + "a" * 64 + ".com/",
        "http://..com/",
        "http://example.com/" + "a" * 2000,
    ],
)
def test_a_url_of_another_form_is_refused(given: str) -> None:
    with pytest.raises(UrlInvalid):
        normalise(given)


PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "1.1.1.1",
    "2606:2800:220:1:248:1893:25c8:1946",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  (refused, not bound)
    "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1",
    "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_asked_on_the_ports_of_the_web(address: str) -> None:
    assert is_fetchable(ipaddress.ip_address(address), 443)
    assert not is_fetchable(ipaddress.ip_address(address), 22)
    assert not is_fetchable(ipaddress.ip_address(address), 0)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_other_address_is_asked(address: str) -> None:
    assert not is_fetchable(ipaddress.ip_address(address), 80)


def test_an_allowed_network_is_asked_on_any_port_also_through_ipv6() -> None:
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd12::/16")]
    for inside in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1"):
        assert is_fetchable(ipaddress.ip_address(inside), 3000, allowed)
    for outside in ("10.2.0.1", "127.0.0.1", "fd13::1"):
        assert not is_fetchable(ipaddress.ip_address(outside), 80, allowed)


def test_no_allowed_network_opens_the_metadata_of_a_cloud() -> None:
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"):
        assert not is_fetchable(ipaddress.ip_address(address), 80, everything)


def test_links_are_read_as_browsers_read_them() -> None:
    base = "https://example.com/docs/start.html"
    assert follow(base, "next.html#top") == "https://example.com/docs/next.html"
    assert follow(base, "/my file.pdf") == "https://example.com/my%20file.pdf"
    assert follow(base, "//other.example/a\n") == "https://other.example/a"
    assert follow(base, "?page=2") == "https://example.com/docs/start.html?page=2"
    for reference in ("mailto:a@b.example", "javascript:void(0)", "http://[::1", "https://user@example.com/"):
        with pytest.raises(UrlInvalid):
            follow(base, reference)


@pytest.mark.parametrize(
    ("start", "inside", "outside"),
    [
        ("https://a.example/", ["https://a.example/x/y"], ["https://b.example/", "https://a.example:8443/"]),
        ("https://a.example/docs/", ["https://a.example/docs/x"], ["https://a.example/docs", "https://a.example/blog"]),
        ("https://a.example/docs", ["https://a.example/docs", "https://a.example/docs/x"], ["https://a.example/docs2"]),
        ("https://a.example/docs/i.html", ["https://a.example/docs/x"], ["https://a.example/"]),
    ],
)
def test_a_crawl_stays_under_the_path_where_it_began(start: str, inside: list[str], outside: list[str]) -> None:
    scope = Scope.of(start)
    assert [url for url in inside if not scope.holds(url)] == []
    assert [url for url in outside if scope.holds(url)] == []


def test_links_of_a_crawl_are_kept_once_and_in_order() -> None:
    scope = Scope.of("https://a.example/docs/")
    links = ["b#1", "/docs/a", "b#2", "http://a.example/docs/c", "https://evil.example/", "mailto:x@y.example", "../up"]
    assert scope.take("https://a.example/docs/", links) == [
        "https://a.example/docs/b",
        "https://a.example/docs/a",
        "https://a.example/docs/c",
    ]


def test_a_robots_file_that_is_missing_allows_all_and_a_broken_server_nothing() -> None:
    rules = {status: robots_rule(status) for status in (200, 404, 403, 429, 500, 503)}
    assert rules == {
        200: RobotsRule.READ,
        404: RobotsRule.ALLOW,
        403: RobotsRule.ALLOW,
        429: RobotsRule.DISALLOW,
        500: RobotsRule.DISALLOW,
        503: RobotsRule.DISALLOW,
    }


def test_a_document_is_named_for_its_url_readably() -> None:
    assert title("https://example.com/%C3%A4/page/?a=b") == "example.com/ä/page/?a=b"
    assert len(title("https://example.com/" + "a" * 1900)) == 255
