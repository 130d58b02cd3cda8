"""Fetching over real sockets: what is refused, what is cut short, what is asked again."""

import asyncio
import ipaddress
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from adapters.clock import now
from adapters.settings import Settings
from adapters.web.fetcher import FetchLimits, WebFetcher
from adapters.web.guard import Resolve
from domain.errors import (
    DomainError,
    FetchFailed,
    TooManyRedirects,
    UrlBusy,
    UrlHttpError,
    UrlInvalid,
    UrlRefused,
    UrlTimeout,
    UrlTooLarge,
    UrlUnreachable,
)
from domain.web import Address, Network, Validators
from tests.web_site import Site, bomb, drip, drip_body, endless, running_site

LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)
LIMIT = 100_000


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as site:
        yield site


@asynccontextmanager
async def a_fetcher(
    *, allowed: Sequence[Network] = LOOPBACK, resolve: Resolve | None = None, seconds: float = 20
) -> AsyncIterator[WebFetcher]:
    fetcher = WebFetcher(FetchLimits(bytes=LIMIT, seconds=seconds), allowed=allowed, resolve=resolve)
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


@pytest_asyncio.fixture
async def fetcher() -> AsyncIterator[WebFetcher]:
    async with a_fetcher() as fetcher:
        yield fetcher


async def read(fetcher: WebFetcher, url: str, known: Validators = Validators()) -> tuple[int, str, bytes]:  # noqa: B008  (frozen)
    async with fetcher.open(url, known=known) as page:
        return page.status, page.url, b"".join([piece async for piece in page.content])


class Names:
    """A name server: each name answers its lists of addresses in turn, the last one for ever."""

    def __init__(self, **names: list[list[str]]) -> None:
        self._names = names
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[Address]:
        self.asked.append(host)
        answers = self._names.get(host.split(".")[0])
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ipaddress.ip_address(text) for text in answer]


async def test_a_page_comes_with_what_its_server_says_of_it(site: Site, fetcher: WebFetcher) -> None:
    url = site.put(
        "/a", "A page.", etag='"1"', headers={"Last-Modified": "Mon, 01 Jun 2026 00:00:00 GMT", "Set-Cookie": "a=b"}
    )
    async with fetcher.open(url) as page:
        content = b"".join([piece async for piece in page.content])
    assert (page.status, page.url, content, page.content_type) == (200, url, b"A page.", "text/plain; charset=utf-8")
    assert page.validators == Validators('"1"', "Mon, 01 Jun 2026 00:00:00 GMT")
    await read(fetcher, url)
    assert site.asked[0].headers["user-agent"].startswith("ChatSphere/")
    assert {"cookie", "authorization", "if-none-match"} & site.asked[1].headers.keys() == set()


async def test_a_page_that_has_not_changed_sends_nothing(site: Site, fetcher: WebFetcher) -> None:
    url = site.put("/a", "A page.", etag='"1"')
    async with fetcher.open(url, known=Validators('"1"')) as page:
        assert (page.status, page.not_modified) == (304, True)
    async with fetcher.open(url, known=Validators('"0"')) as page:
        assert (page.status, page.not_modified) == (200, False)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://localhost.:1/",
        "http://[::1]:1/",
        "http://[::]:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "http://0.0.0.0:1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://93.184.216.34:22/",
    ],
)
async def test_a_private_host_is_refused_before_a_connection_is_opened(url: str) -> None:
    async with a_fetcher(allowed=()) as fetcher:
        with pytest.raises(UrlRefused):
            await read(fetcher, url)


async def test_a_private_host_and_one_that_is_not_there_are_refused_in_the_same_words() -> None:
    names = Names(private=[["10.1.2.3"]], mixed=[["93.184.216.34", "10.1.2.3"]], empty=[[]])
    async with a_fetcher(allowed=(), resolve=names) as fetcher:
        refusals = []
        for url in ("http://private.example/", "http://nowhere.example/", "http://mixed.example/", "http://empty.example/",
                    "http://10.1.2.3/", "http://private.example:5432/"):  # fmt: skip
            with pytest.raises(UrlRefused) as refusal:
                await read(fetcher, url)
            refusals.append((refusal.value.code, refusal.value.message))
    assert len(set(refusals)) == 1
    assert "10.1" not in refusals[0][1]


async def test_a_name_is_resolved_once_so_that_it_cannot_answer_differently_when_it_counts(site: Site) -> None:
    """The first answer is the one that is checked and the one that is connected to: the second is never asked for."""
    port = site.url.rsplit(":", 1)[1]
    names = Names(rebinding=[["127.0.0.1"], ["127.0.0.2"]])
    site.put("/a", "A page.")
    async with a_fetcher(resolve=names) as fetcher:
        _, _, content = await read(fetcher, f"http://rebinding.example:{port}/a")
    assert content == b"A page."
    assert names.asked == ["rebinding.example"]
    assert site.asked[0].headers["host"] == f"rebinding.example:{port}"


async def test_a_name_that_turns_private_is_refused_by_the_answer_that_would_be_connected_to(site: Site) -> None:
    port = site.url.rsplit(":", 1)[1]
    names = Names(rebinding=[["127.0.0.1"], ["127.0.0.2"]])
    site.put("/a", "A page.", headers={"Connection": "close"})
    async with a_fetcher(resolve=names) as fetcher:
        await read(fetcher, f"http://rebinding.example:{port}/a")
        await fetcher.aclose()  # no connection of the first answer is left to be used again
        with pytest.raises(UrlRefused):
            await read(fetcher, f"http://rebinding.example:{port}/a")
    assert len(site.asked) == 1


def certificates(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for a name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = now() - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=10))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cafile=str(pem))
    return server, client


async def test_tls_keeps_the_name_although_the_connection_goes_to_the_address(tmp_path: Path) -> None:
    server, client = certificates(tmp_path, "site.example")
    asked: list[str | None] = []
    server.sni_callback = lambda _connection, name, _context: asked.append(name)
    names = Names(site=[["127.0.0.1"]], other=[["127.0.0.1"]])
    async with running_site(tls=server) as site:
        port = site.url.rsplit(":", 1)[1]
        site.put("/a", "A page.")
        fetcher = WebFetcher(FetchLimits(bytes=LIMIT), allowed=LOOPBACK, resolve=names, tls=client)
        assert (await read(fetcher, f"https://site.example:{port}/a"))[2] == b"A page."
        with pytest.raises(UrlUnreachable):
            await read(fetcher, f"https://other.example:{port}/a")
        await fetcher.aclose()
    assert asked == ["site.example", "other.example"]
    assert len(site.asked) == 1


async def test_redirects_are_followed_and_named(site: Site, fetcher: WebFetcher) -> None:
    site.redirect("/a", "b?c", status=301)
    site.redirect("/b?c", f"{site.url}/d", status=308)
    site.put("/d", "The end.")
    assert await read(fetcher, f"{site.url}/a") == (200, f"{site.url}/d", b"The end.")


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("http://127.0.0.2:80/", UrlRefused),
        ("http://169.254.169.254/latest/meta-data/", UrlRefused),
        ("http://[::1]/", UrlRefused),
        ("//localhost.localdomain.invalid/", UrlRefused),
        ("file:///etc/passwd", UrlInvalid),
        ("gopher://127.0.0.1/", UrlInvalid),
        ("http://0x7f000001/", UrlInvalid),
        ("http://a:b@127.0.0.1/", UrlInvalid),
    ],
)
async def test_a_redirect_is_checked_as_the_first_url_was(
    site: Site, fetcher: WebFetcher, target: str, error: type[DomainError]
) -> None:
    site.redirect("/a", target)
    with pytest.raises(error):
        await read(fetcher, f"{site.url}/a")
    assert len(site.asked) == 1


async def test_a_page_that_is_always_elsewhere_is_given_up(site: Site, fetcher: WebFetcher) -> None:
    site.redirect("/a", "/a")
    with pytest.raises(TooManyRedirects):
        await read(fetcher, f"{site.url}/a")
    assert len(site.asked) == 6


async def test_a_page_over_the_limit_is_refused_by_its_length_or_as_it_comes(site: Site, fetcher: WebFetcher) -> None:
    with pytest.raises(UrlTooLarge):
        await read(fetcher, site.put("/told", b"x" * (LIMIT + 1)))
    with pytest.raises(UrlTooLarge):
        await read(fetcher, site.put("/endless", behaviour=endless))
    _, _, content = await read(fetcher, site.put("/fits", b"x" * LIMIT))
    assert len(content) == LIMIT


async def test_a_bomb_is_not_unpacked(site: Site, fetcher: WebFetcher) -> None:
    """256 MB of zeros in a quarter of one: what is held at a time stays far below what it would become."""
    url = site.put("/bomb", bomb(256), headers={"Content-Encoding": "gzip"})
    with pytest.raises(UrlTooLarge):
        await read(fetcher, url)  # so that the connection and the certificates are not counted
    tracemalloc.start()
    try:
        with pytest.raises(UrlTooLarge):
            await read(fetcher, url)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip, gzip"])
async def test_a_packing_that_was_not_asked_for_is_refused(site: Site, fetcher: WebFetcher, encoding: str) -> None:
    url = site.put("/a", b"whatever", headers={"Content-Encoding": encoding})
    with pytest.raises(UrlUnreachable):
        await read(fetcher, url)


async def test_broken_packing_is_an_answer_that_cannot_be_read(site: Site, fetcher: WebFetcher) -> None:
    url = site.put("/a", b"no gzip at all", headers={"Content-Encoding": "gzip"})
    with pytest.raises(UrlUnreachable):
        await read(fetcher, url)


@pytest.mark.parametrize("behaviour", [drip, drip_body], ids=["header", "body"])
async def test_a_server_that_dribbles_is_cut_off_by_the_time_of_the_whole_page(site: Site, behaviour: object) -> None:
    url = site.put("/slow", behaviour=behaviour)
    async with a_fetcher(seconds=0.5) as fetcher:
        with pytest.raises(UrlTimeout):
            await asyncio.wait_for(read(fetcher, url), 20)


async def test_a_body_that_takes_too_long_to_be_used_is_cut_off_too(site: Site) -> None:
    url = site.put("/a", "A page.")
    async with a_fetcher(seconds=0.2) as fetcher:
        with pytest.raises(UrlTimeout):
            async with fetcher.open(url):
                await asyncio.Event().wait()


async def test_nobody_listening_is_unreachable(fetcher: WebFetcher) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UrlUnreachable):
            await read(fetcher, f"http://127.0.0.1:{free.getsockname()[1]}/")


async def test_an_answer_that_is_no_http_is_unreachable(site: Site, fetcher: WebFetcher) -> None:
    async def greet(writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()

    with pytest.raises(UrlUnreachable):
        await read(fetcher, site.put("/a", behaviour=greet))


@pytest.mark.parametrize(("status", "kind"), [(404, UrlHttpError), (401, UrlHttpError), (503, UrlBusy), (429, UrlBusy)])
async def test_a_servers_refusal_keeps_its_status(
    site: Site, fetcher: WebFetcher, status: int, kind: type[FetchFailed]
) -> None:
    with pytest.raises(kind) as failure:
        await read(fetcher, site.put("/a", "Secret reason.", status=status, headers={"Retry-After": "7"}))
    assert type(failure.value) is kind
    assert failure.value.http_status == status
    assert "reason" not in failure.value.message
    if kind is UrlBusy:
        assert failure.value.retry_after is not None
        assert failure.value.retry_after.total_seconds() == 7


def test_allowed_networks_are_read_from_a_list_and_a_wrong_one_is_refused_at_the_start() -> None:
    settings = Settings(_env_file=None, fetch_allowed_networks="10.1.0.0/16, fd12::/16")
    assert settings.networks == (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd12::/16"))
    for wrong in ("10.1.0.1/16", "intranet", "10.1.0.0/99"):
        with pytest.raises(ValidationError):
            Settings(_env_file=None, fetch_allowed_networks=wrong)


async def test_no_proxy_of_the_environment_is_used(
    site: Site, fetcher: WebFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert (await read(fetcher, site.put("/a", "A page.")))[2] == b"A page."
