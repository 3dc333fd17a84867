"""The guard: every way in that is known, and that ordinary addresses still pass."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import outward
from contracts.errors import ProviderUnavailableError, UrlNotAllowedError

pytestmark = pytest.mark.unit

PUBLIC = "93.184.215.14"
PUBLIC_V6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

MALFORMED = [
    "",
    "example.com/hook",
    "//example.com/hook",
    "https:example.com",
    "https:/example.com",
    "https:///hook",
    "https://",
    "https://?a=b",
    "https://ex ample.com/",
    "https://example.com/\nHost: internal",
    "https://example.com/\r\nX: y",
    "https://example.com/\x00",
    "https://example.com\\@10.0.0.1/",
    "https://example.com/a\\b",
    "https://b\u00fccher.example/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://example.com/<script>",
    "https://%6c%6f%63%61%6c%68%6f%73%74/",
    "https://exa_mple-.com/",
    "https://-example.com/",
    "https://example..com/",
    "https://example.com./",
    "https://" + "a" * 64 + ".com/",
    "https://example.com/" + "a" * 2000,
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://[v1.fe80]/",
    "https://example.com:/",
    "https://example.com:99999/",
    "https://example.com:4x3/",
]
SCHEMES = [
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com:70/_x",
    "data:text/plain,x",
    "javascript:alert(1)",
    "ws://example.com/",
    "unix:///run/docker.sock",
]
USERS = [
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://@example.com/",
    "https://example.com@127.0.0.1/",
]
PORTS = [
    f"https://example.com:{port}/"
    for port in (0, 1, 22, 23, 25, 53, 110, 143, 389, 445, 465, 587, 636, 6000, 6667, 10080)
]
ADDRESSES = [
    "https://localhost.localdomain:0/",
    "https://127.0.0.1/",
    "https://127.255.255.254/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0x7f.0.0.0x1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.01/",
    "https://1.2.3.4.5/",
    "https://256.1.1.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.1.1/",
    "https://168.63.129.16/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://100.127.255.255/",
    "https://192.0.0.1/",
    "https://192.0.0.9/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://239.255.255.255/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:7f00:1]/",
    f"https://[::ffff:{PUBLIC}]/",
    "https://[::ffff:0:127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    f"https://[64:ff9b::{PUBLIC}]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[2001:10::1]/",
    "https://[2001:20::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[2606:2800:21f:cb07:0:5efe:7f00:1]/",
    "https://[2606:2800:21f:cb07:200:5efe:a00:1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[100::1]/",
    "https://[5f00::1]/",
]


@pytest.mark.parametrize("url", [*MALFORMED, *SCHEMES, *USERS, *PORTS, *ADDRESSES])
async def test_a_hostile_url_is_refused_before_any_name_is_looked_up(url: str) -> None:
    async def nobody_asks(host: str, _port: int) -> list[str]:
        raise AssertionError(host)

    with pytest.raises(UrlNotAllowedError) as caught:
        await outward.vet(url, private=False, resolve=nobody_asks)
    assert caught.value.field == "url"
    assert len(caught.value.message) < 120  # what was sent is not echoed


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a00:1"],
        [PUBLIC, "192.168.0.1"],  # one good answer does not excuse the other
        [PUBLIC_V6, "fd12::1"],
    ],
)
async def test_a_name_that_leads_inside_is_refused(answers: list[str]) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return answers

    with pytest.raises(UrlNotAllowedError):
        await outward.vet("https://innocent.example/", private=False, resolve=resolve)


async def test_a_name_is_looked_up_once_and_what_was_judged_is_what_is_connected_to() -> None:
    """A name server that answers differently the second time is never asked a second time."""
    answers = iter([[PUBLIC, PUBLIC_V6], ["127.0.0.1"]])

    async def rebinding(_host: str, _port: int) -> list[str]:
        return next(answers)

    vetted = await outward.vet(
        "https://Rebind.Example:8443/a?b#c", private=False, resolve=rebinding
    )
    assert vetted.addresses == (PUBLIC, PUBLIC_V6)
    assert vetted.destination == ("https", "rebind.example", 8443, "/a?b")
    assert vetted.destination.host_header == "rebind.example:8443"


@pytest.mark.parametrize(
    ("url", "host", "header"),
    [
        (f"https://{PUBLIC}/x", PUBLIC, PUBLIC),
        (f"https://[{PUBLIC_V6}]", PUBLIC_V6, f"[{PUBLIC_V6}]"),
        (f"https://[{PUBLIC_V6}]:8443/", PUBLIC_V6, f"[{PUBLIC_V6}]:8443"),
        ("https://example.com:443/", "example.com", "example.com"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://my_team.example.com/", "my_team.example.com", "my_team.example.com"),
    ],
)
def test_an_ordinary_url_passes(url: str, host: str, header: str) -> None:
    found = outward.read(url, private=False)
    assert (found.host, found.host_header) == (host, header)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/",
        "http://10.0.0.1/",
        "https://[::1]:9000/",
        "http://192.168.0.7/",
        "http://[fd12::1]/",
        "http://100.64.3.2/",
    ],
)
def test_a_private_address_passes_where_it_is_wanted(url: str) -> None:
    assert outward.read(url, private=True)
    with pytest.raises(UrlNotAllowedError):
        outward.read(url, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://user@10.0.0.1/",
        "http://10.0.0.1:22/",
        "ftp://10.0.0.1/",
    ],
)
def test_credentials_of_the_machine_are_never_within_reach(url: str) -> None:
    with pytest.raises(UrlNotAllowedError):
        outward.read(url, private=True)


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_no_ipv4_address_that_python_calls_private_passes_in_any_spelling(
    address: ipaddress.IPv4Address,
) -> None:
    plain = outward.refusal(str(address), private=False)
    if not address.is_global or address.is_multicast:
        assert plain
    for embedded in (f"::ffff:{address}", f"::{address}", f"64:ff9b::{address}"):
        assert outward.refusal(embedded, private=False)
        assert outward.refusal(embedded, private=True) or embedded == "::0.0.0.1"
    packed = f"{int(address):08x}"
    assert outward.refusal(f"2002:{packed[:4]}:{packed[4:]}::1", private=False)


@given(st.text(max_size=60).map(lambda text: f"https://{text}"))
def test_whatever_is_written_is_read_or_refused(url: str) -> None:
    try:
        found = outward.read(url, private=False)
    except UrlNotAllowedError:
        return
    assert found.scheme == "https"
    assert found.host.isascii()
    assert "@" not in found.host


async def test_a_name_without_an_address_may_have_one_later() -> None:
    async def nothing(_host: str, _port: int) -> list[str]:
        return []

    with pytest.raises(ProviderUnavailableError):
        await outward.vet("https://example.com/", private=False, resolve=nothing)
    with pytest.raises(ProviderUnavailableError):
        await outward.resolve("no-such-name.invalid", 443)
