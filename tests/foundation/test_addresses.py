"""Which addresses an outside URL may reach, and every spelling in which they come."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.foundation.addresses import MalformedAddress, is_public, literal_address

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 -- refused, not listened on
        "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
        "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:8.8.8.8",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:2::1", "2001:10::1",
        "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3ffe::1", "3fff::1", "5f00::1", "fc00::1",
        "fd00:ec2::254", "fd12:3456:789a::1", "fe80::1", "fec0::1", "ff02::1", "4000::1",
        "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:192.168.0.1",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255",
        "172.32.0.0", "192.0.1.1", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111",
        "2001:4860:4860::8888", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::5efe:8.8.8.8",
    ],
)  # fmt: skip
def test_the_neighbours_of_special_ranges_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(v4 | v6.filter(lambda address: int(address) >> 32 != 0xFFFF))
def test_what_we_call_public_the_standard_library_calls_global(address: IPv4Address | IPv6Address) -> None:
    assert not is_public(address) or address.is_global


@given(v4)
def test_a_mapped_or_translated_address_is_judged_by_what_it_carries(address: IPv4Address) -> None:
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert is_public(IPv6Address(prefix | int(address))) == is_public(address)


@given(v4)
def test_other_transition_forms_are_never_public(address: IPv4Address) -> None:
    number = int(address)
    for carried in (number, 0x2002 << 112 | number << 80, 0x20010000 << 96 | number ^ 0xFFFFFFFF):
        assert not is_public(IPv6Address(carried))


def test_an_address_of_one_interface_is_not_public() -> None:
    assert not is_public(IPv6Address("2606:4700::1%eth0"))


@given(v4, st.data())
def test_every_spelling_of_an_ipv4_address_is_folded(address: IPv4Address, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    octets = address.packed
    heads = list(octets[: count - 1])
    numbers = [*heads, int.from_bytes(octets[count - 1 :])]
    spell = st.sampled_from(["{:d}", "{:#x}", "0{:o}", "0x{:08x}", "00{:o}"])
    text = ".".join(data.draw(spell).format(number) for number in numbers)
    assert literal_address(text) == address


@pytest.mark.parametrize(
    "host", ["example.test", "a", "x1", "1.example", "127.0.0.1.nip.test", "0x7f.test", "a-1.b2"]
)
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "256.0.0.1", "1.2.3.256", "1.2.3.4.5", "1..2", ".1", "08.0.0.1", "0x7g.1", "4294967296", "example.1", "a.0x1",
        "99999999999999999999999999999999999999999999999999999999999999999999", "1.16777216", "::g", "1:2",
        "fe80::1%1", "::ffff:1.2.3.4.5", ":::", "1::2::3",
    ],
)  # fmt: skip
def test_what_only_looks_like_an_address_is_refused(host: str) -> None:
    with pytest.raises(MalformedAddress):
        literal_address(host)


@given(st.text("0123456789abcdefx.:", max_size=40))
def test_any_host_is_a_name_an_address_or_refused(host: str) -> None:
    try:
        address = literal_address(host)
    except MalformedAddress:
        return
    assert address is None or isinstance(address, (IPv4Address, IPv6Address))
