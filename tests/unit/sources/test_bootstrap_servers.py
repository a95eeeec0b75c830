# SPDX-License-Identifier: Apache-2.0
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xpu_agent.device import DeviceFacts, RunningImage
from xpu_agent.errors import MalformedError, SourceUnavailableError
from xpu_agent.ports import FoundServers, Need
from xpu_agent.sources.bootstrap_servers import BootstrapServers
from xpu_agent.trust.state import ProvisionalHop, TrustedHop


def _authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "servers")])
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + dt.timedelta(days=9999))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _facts(*anchors: bytes) -> DeviceFacts:
    return DeviceFacts(
        serial_number="SN-1",
        hw_model=None,
        running=RunningImage(None, None),
        idevid_chain=(),
        voucher_anchors=(_authority(),),  # never for servers
        server_anchors=anchors,
    )


@pytest.mark.requirement("SZTP-5.1-06")
def test_the_list_is_offered_whole_in_its_order_with_the_default_port() -> None:
    source = BootstrapServers([("b.example", None), ("192.0.2.1", 8443), ("2001:db8::1", None)])
    assert source.name == "bootstrap-servers"
    assert source.needs == {Need.NETWORK}
    anchor = _authority()
    (offer,) = source.load(_facts(anchor))
    assert isinstance(offer, FoundServers)
    assert [(hop.host, hop.port) for hop in offer.hops] == [
        ("b.example", 443),
        ("192.0.2.1", 8443),
        ("2001:db8::1", 443),
    ]
    for hop in offer.hops:
        assert isinstance(hop, TrustedHop)
        assert [a.der for a in hop.anchors] == [anchor]
        assert hop.fallback == ProvisionalHop(hop.host, hop.port)


@pytest.mark.refuses("SZTP-5.1-06")
def test_an_empty_list_is_no_source() -> None:
    with pytest.raises(SourceUnavailableError):
        next(BootstrapServers([]).load(_facts(_authority())))


def test_without_anchors_the_connection_is_provisional() -> None:
    (offer,) = BootstrapServers([("b.example", 443)]).load(_facts())
    assert offer.hops == (ProvisionalHop("b.example", 443),)


def test_anchors_named_by_hand_stand_in_for_the_devices() -> None:
    ours, theirs = _authority(), _authority()
    (offer,) = BootstrapServers([("b.example", 443)], anchors=[theirs]).load(_facts(ours))
    (hop,) = offer.hops
    assert isinstance(hop, TrustedHop)
    assert [a.der for a in hop.anchors] == [theirs]
    (offer,) = BootstrapServers([("b.example", 443)], anchors=[]).load(_facts(ours))
    assert offer.hops == (ProvisionalHop("b.example", 443),)


def test_an_anchor_that_is_no_certificate_trusts_nobody() -> None:
    with pytest.raises(MalformedError):
        next(BootstrapServers([("b.example", 443)]).load(_facts(b"rubbish")))
