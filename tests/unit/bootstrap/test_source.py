# SPDX-License-Identifier: Apache-2.0
"""One source to its end: order, trust, redirects, bounds, and what servers are told."""

from typing import Any

import pytest
from tests.fakes import FACTORY_CONFIGURATION, MemoryServer, NoKeys, Start, World, answer
from tests.fakes import ListSource as Listed
from tests.owners import encrypted, owner
from tests.owners import onboarding_document as document

from xpu_agent import limits
from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.cms import EnvelopedData
from xpu_agent.bootstrap.sequence import run_once
from xpu_agent.errors import (
    IdentityError,
    MalformedError,
    Reason,
    SourceUnavailableError,
    StoppedError,
    XpuAgentError,
)
from xpu_agent.keys.file import load_keys
from xpu_agent.ports import (
    FoundArtifacts,
    FoundServers,
    Judged,
    Outcome,
    OutcomeKind,
    RedirectFollowed,
    ServerContacted,
    WorkflowSettings,
)
from xpu_agent.progress import ProgressType, ReportingLevel
from xpu_agent.trust.signed_data import Step, StepResult
from xpu_agent.trust.state import Hop, preconfigured_hop, provisional_hop

P = ProgressType
GOOD = document(configuration=b"good", handling="replace")
UNREACHABLE = SourceUnavailableError(Reason.SERVER_UNREACHABLE, "refused")


class Net:
    """A device with servers around it; `run` is one attempt."""

    def __init__(self, settings: WorkflowSettings | None = None) -> None:
        self.owner = owner()
        self.world = self.owner.equip(World())
        if settings is not None:
            self.world.settings = settings
        self.start: Start | None = None

    def server(
        self,
        host: str,
        *answers: Artifacts | XpuAgentError,
        issuer: bytes | None = None,
        level: ReportingLevel = ReportingLevel.VERBOSE,
        **options: Any,
    ) -> MemoryServer:
        given = [a if isinstance(a, XpuAgentError) else answer(a, level) for a in answers]
        server = MemoryServer(given or [UNREACHABLE], issuer=issuer, **options)
        self.world.servers[host, 443] = server
        return server

    def trusted_server(
        self, host: str, *answers: Artifacts | XpuAgentError, **options: Any
    ) -> MemoryServer:
        return self.server(host, *answers, issuer=self.owner.servers.der, **options)

    def preconfigured(self, *hosts: str) -> None:
        anchors = (self.owner.server_anchor(),)
        hops: list[Hop] = [preconfigured_hop(host, 443, anchors) for host in hosts]
        self.source("bootstrap-servers", FoundServers("configuration", tuple(hops)))

    def dhcp(self, *hosts: str) -> None:
        hops = tuple(provisional_hop(host, 443) for host in hosts)
        self.source("dhcp", FoundServers("DHCP on eth0", hops))

    def medium(self, artifacts: Artifacts) -> None:
        self.source("removable-storage", FoundArtifacts("directory /media", artifacts))

    def source(self, name: str, *offers: FoundArtifacts | FoundServers | XpuAgentError) -> Listed:
        source = Listed(name, offers)
        self.world.sources.append(source)
        return source

    def run(self) -> Outcome:
        self.start = self.world.start()
        outcome = run_once(self.start.ports, self.start.facts)
        assert all(server.open_connections == 0 for server in self.world.servers.values())
        return outcome

    @property
    def contacts(self) -> list[tuple[str, str]]:
        assert self.start is not None
        return [(kind, host) for kind, host, _ in self.start.connector.contacts]

    @property
    def bootstrapped(self) -> bool:
        return self.world.disk.configuration == b"good" and self.world.disk.provisioned

    @property
    def untouched(self) -> bool:
        disk = self.world.disk
        return disk.configuration == FACTORY_CONFIGURATION and not disk.provisioned


# --- trust (decision tables 1.1, 1.2 and 1.3) ------------------------------------------------


@pytest.mark.requirement("SZTP-5.3-11", "SZTP-5.2-02")
def test_5_3_unsigned_information_from_a_trusted_server_is_used() -> None:
    net = Net()
    server = net.trusted_server("a", net.owner.unsigned(GOOD))
    net.preconfigured("a")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.bootstrapped
    ((kind, request),) = server.requests
    assert kind == "trusted"
    assert not request.signed_data_preferred
    assert (request.hw_model, request.os_name, request.os_version) == ("model-x", "xpu-os", "1.0")


@pytest.mark.refuses("SZTP-5.3-10", "SZTP-9.5-01", "SZTP-7.3-01")
@pytest.mark.requirement("SZTP-5.3-10")
def test_5_3_unsigned_information_over_a_provisional_connection_is_refused() -> None:
    net = Net()
    server = net.server("a", net.owner.unsigned(GOOD))
    net.dhcp("a")
    outcome = net.run()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, Reason.UNSIGNED_NOT_ALLOWED)
    assert net.untouched
    assert server.reports == []
    ((kind, request),) = server.requests
    assert kind == "provisional"
    assert request.signed_data_preferred
    assert (request.hw_model, request.os_name, request.os_version) == (None, None, None)
    assert net.world.disk.refused == [(Reason.UNSIGNED_NOT_ALLOWED, "a:443")]


@pytest.mark.requirement("SZTP-7.3-01", "SZTP-9.5-01")
def test_5_3_signed_information_over_a_provisional_connection_is_used_without_reports() -> None:
    net = Net()
    server = net.server("a", net.owner.signed(GOOD))
    net.dhcp("a")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.bootstrapped
    assert server.reports == []


@pytest.mark.requirement("SZTP-5.4-11")
@pytest.mark.refuses("SZTP-5.4-11")
def test_5_3_signed_information_that_fails_is_refused_from_a_trusted_server_and_told() -> None:
    net = Net()
    server = net.trusted_server(
        "a", net.owner.signed(GOOD, expired=True), level=ReportingLevel.MINIMAL
    )
    net.preconfigured("a")
    outcome = net.run()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, Reason.VOUCHER_EXPIRED)
    assert net.untouched
    assert server.report_types == [P.BOOTSTRAP_INITIATED, P.PARSING_ERROR]
    assert (server.reports[-1].message or "").startswith("voucher-expired: ")


def test_5_6_data_that_cannot_be_parsed_is_told_to_a_trusted_server_only() -> None:
    for trusted in (True, False):
        net = Net()
        broken = Artifacts(b"\x30\x00")
        server = net.trusted_server("a", broken) if trusted else net.server("a", broken)
        net.preconfigured("a")
        outcome = net.run()
        assert outcome.reason is Reason.MALFORMED
        expected = [P.BOOTSTRAP_INITIATED, P.PARSING_INITIATED, P.PARSING_ERROR]
        assert server.report_types == (expected if trusted else [])
        assert net.start is not None
        (judged,) = net.start.events.of(Judged)
        assert (judged.verdict, judged.reason) == ("refused", Reason.MALFORMED)
        assert [step.step for step in judged.steps] == list(Step)
        assert judged.steps[0].result is StepResult.FAILED


def test_5_6_an_output_that_is_none_is_told_to_a_trusted_server_only() -> None:
    for trusted in (True, False):
        net = Net()
        broken = MalformedError("no output member")
        server = net.trusted_server("a", broken) if trusted else net.server("a", broken)
        net.preconfigured("a")
        assert net.run().reason is not None
        assert server.report_types == ([P.BOOTSTRAP_INITIATED, P.PARSING_ERROR] if trusted else [])


def test_5_6_a_server_that_does_not_take_the_first_report_gets_no_parsing_error() -> None:
    net = Net()
    server = net.trusted_server("a", Artifacts(b"\x30\x00"))
    server.report_failures[P.BOOTSTRAP_INITIATED] = -1
    net.preconfigured("a")
    assert net.run().reason is Reason.MALFORMED
    assert server.report_types == [P.BOOTSTRAP_INITIATED, P.BOOTSTRAP_ERROR]


@pytest.mark.requirement("SZTP-5.6-03")
@pytest.mark.refuses("SZTP-5.6-03")
def test_5_6_the_whole_document_is_parsed_before_anything_is_done() -> None:
    net = Net()
    good = document(pre_script=b"print ran", configuration=b"good", handling="replace")
    broken = {name: {**body, "post-configuration-script": "?"} for name, body in good.items()}
    bad = net.trusted_server("bad", net.owner.unsigned(broken))
    server = net.trusted_server("good", net.owner.unsigned(good))
    net.preconfigured("bad", "good")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert bad.report_types == [P.BOOTSTRAP_INITIATED, P.PARSING_INITIATED, P.PARSING_ERROR]
    assert net.world.disk.scripts_run == ["pre-configuration"]
    types = server.report_types
    assert types.index(P.PARSING_COMPLETE) < types.index(P.PRE_SCRIPT_INITIATED)


@pytest.mark.requirement("SZTP-5.3-02")
@pytest.mark.refuses("SZTP-5.3-02")
def test_5_3_a_preconfigured_server_that_does_not_validate_is_asked_provisionally() -> None:
    net = Net()
    server = net.server("a", net.owner.unsigned(GOOD))
    net.preconfigured("a")
    outcome = net.run()
    assert net.contacts == [("trusted", "a"), ("provisional", "a")]
    assert outcome.reason is Reason.SERVER_CERT_UNKNOWN_ISSUER
    assert net.untouched
    assert server.reports == []


def test_5_3_each_address_may_validate_before_any_is_asked_provisionally() -> None:
    net = Net()
    net.server("a", net.owner.signed(GOOD), ips=("192.0.2.1", "192.0.2.2"))
    net.preconfigured("a")
    net.run()
    assert net.start is not None
    assert [(kind, ip) for kind, _, ip in net.start.connector.contacts] == [
        ("trusted", "192.0.2.1"),
        ("trusted", "192.0.2.2"),
        ("provisional", "192.0.2.1"),
    ]
    assert net.bootstrapped


@pytest.mark.requirement("SZTP-5.3-01")
@pytest.mark.refuses("SZTP-5.3-01")
def test_5_3_trust_in_one_source_is_not_carried_to_the_next() -> None:
    net = Net()
    net.trusted_server("a", net.owner.unsigned(document(post_script=b"exit 1")))
    net.preconfigured("a")
    net.medium(net.owner.unsigned(GOOD))
    outcome = net.run()
    assert outcome.reason is Reason.POST_SCRIPT_FAILED
    assert net.untouched
    assert net.world.disk.refused == [(Reason.UNSIGNED_NOT_ALLOWED, "directory /media")]


def test_5_3_signed_information_from_a_medium_is_used() -> None:
    net = Net()
    net.medium(net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.bootstrapped


@pytest.mark.requirement("SZTP-5.3-06")
def test_5_3_what_is_encrypted_to_the_device_is_decrypted_first() -> None:
    net = Net()
    idevid = net.owner.idevid
    net.world.keys = load_keys([idevid.der], idevid.key_pem)
    net.medium(encrypted(net.owner.signed(GOOD), idevid))
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.bootstrapped


@pytest.mark.refuses("SZTP-5.3-06")
def test_5_3_what_is_encrypted_to_somebody_else_leads_to_the_next_source() -> None:
    net = Net()
    idevid = net.owner.idevid
    net.world.keys = load_keys([idevid.der], idevid.key_pem)
    net.medium(encrypted(net.owner.signed(GOOD), net.owner.owner))
    net.server("a", net.owner.signed(GOOD))
    net.dhcp("a")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.world.disk.refused == [(Reason.DECRYPTION_FAILED, "directory /media")]
    assert net.start is not None
    steps = net.start.events.of(Judged)[0].steps
    assert [step.step for step in steps if step.result is StepResult.FAILED] == [Step.DECRYPT]


def test_5_3_a_device_without_a_key_can_still_use_what_is_not_encrypted() -> None:
    class MissingKeys(NoKeys):
        def decrypt(self, enveloped: EnvelopedData) -> bytes:
            raise IdentityError(
                Reason.IDEVID_MISSING, f"no private key for {len(enveloped.recipients)} recipients"
            )

    net = Net()
    net.world.keys = MissingKeys()
    net.medium(encrypted(net.owner.signed(GOOD), net.owner.idevid))
    assert net.run().reason is Reason.IDEVID_MISSING
    net.medium(net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED


# --- redirects (5.5) -------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.3-08", "SZTP-5.5-01")
def test_5_5_servers_are_tried_in_list_order() -> None:
    net = Net()
    entry = net.owner.entry
    redirect = net.owner.redirect(entry("a"), entry("b"), entry("c"))
    net.medium(net.owner.unsigned(redirect))
    net.server("a", UNREACHABLE)
    net.server("b", SourceUnavailableError(Reason.HTTP_ERROR, "404"))
    net.server("c", net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.contacts == [("provisional", "a"), ("provisional", "b"), ("provisional", "c")]


@pytest.mark.refuses("SZTP-5.5-01")
def test_5_5_servers_after_the_one_that_worked_are_left_alone() -> None:
    net = Net()
    net.server("a", UNREACHABLE)
    for name in ("b", "c"):
        net.server(name, net.owner.signed(GOOD))
    net.dhcp("a", "b", "c")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.contacts == [("provisional", "a"), ("provisional", "b")]


@pytest.mark.refuses("SZTP-5.5-02")
def test_5_5_no_next_server_before_every_address_had_its_turn() -> None:
    net = Net()
    addresses = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    net.server("a", net.owner.signed(GOOD), ips=addresses, dead_ips=frozenset(addresses))
    net.server("b", net.owner.signed(GOOD), ips=("192.0.2.9",))
    net.dhcp("a", "b")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.start is not None
    assert [ip for _, _, ip in net.start.connector.contacts] == [*addresses, "192.0.2.9"]


@pytest.mark.requirement("SZTP-5.5-02")
def test_5_5_each_address_of_a_name_gets_its_turn_before_the_next_server() -> None:
    net = Net()
    addresses = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    net.server("a", net.owner.signed(GOOD), ips=addresses, dead_ips=frozenset(addresses[:2]))
    net.server("b", net.owner.signed(GOOD))
    net.dhcp("a", "b")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.start is not None
    assert [ip for _, _, ip in net.start.connector.contacts] == list(addresses)


@pytest.mark.requirement("SZTP-5.5-03", "SZTP-5.6-14")
@pytest.mark.refuses("SZTP-5.5-03")
def test_5_5_after_data_from_one_address_the_others_are_left_alone() -> None:
    net = Net()
    failing = net.owner.signed(document(post_script=b"exit 1"))
    net.server("a", failing, ips=("192.0.2.1", "192.0.2.2"))
    net.server("b", net.owner.signed(GOOD))
    source = net.source(
        "dhcp",
        FoundServers("DHCP", (provisional_hop("a", 443), provisional_hop("b", 443))),
    )
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.contacts == [("provisional", "a"), ("provisional", "b")]
    assert source.loads == 1


@pytest.mark.refuses("SZTP-5.5-03")
def test_5_5_that_holds_for_trusted_servers_too() -> None:
    net = Net()
    failing = net.owner.unsigned(document(post_script=b"exit 1"))
    net.trusted_server("a", failing, ips=("192.0.2.1", "192.0.2.2"))
    net.trusted_server("b", net.owner.unsigned(GOOD))
    net.preconfigured("a", "b")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.contacts == [("trusted", "a"), ("trusted", "b")]


@pytest.mark.requirement("SZTP-5.5-04", "SZTP-B-01")
def test_5_5_trusted_redirect_with_an_anchor_promotes_the_connection() -> None:
    net = Net()
    back = net.owner.redirect(net.owner.entry("a", anchor=net.owner.learned))
    server = net.server("a", net.owner.signed(back), net.owner.unsigned(GOOD))
    server.issuer = net.owner.learned.der
    net.dhcp("a")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.contacts == [("provisional", "a"), ("trusted", "a")]
    assert server.report_types[-1] is P.BOOTSTRAP_COMPLETE
    assert [kind for kind, _ in server.requests] == ["provisional", "trusted"]
    assert net.start is not None
    assert net.start.events.of(RedirectFollowed) == [RedirectFollowed(1, trusted=True, depth=1)]
    assert [c.depth for c in net.start.events.of(ServerContacted)] == [0, 1]


@pytest.mark.refuses("SZTP-5.5-04", "SZTP-2.1-01")
def test_5_5_a_server_that_does_not_validate_to_its_anchor_is_never_asked() -> None:
    net = Net()
    entry = net.owner.entry
    anchor = net.owner.learned
    redirect = net.owner.redirect(entry("a", anchor=anchor), entry("b", anchor=anchor))
    net.medium(net.owner.signed(redirect))
    server = net.trusted_server("a", net.owner.unsigned(GOOD))
    net.server("b", net.owner.unsigned(GOOD), issuer=anchor.der)
    assert net.run().kind is OutcomeKind.COMPLETED
    assert server.requests == []
    assert net.contacts == [("trusted", "a"), ("trusted", "b")]


@pytest.mark.requirement("SZTP-5.5-05")
@pytest.mark.refuses("SZTP-5.5-05")
def test_5_5_trusted_redirect_without_an_anchor_is_provisional() -> None:
    net = Net()
    net.medium(net.owner.signed(net.owner.redirect(net.owner.entry("a"))))
    net.trusted_server("a", net.owner.unsigned(GOOD))
    assert net.run().reason is Reason.UNSIGNED_NOT_ALLOWED
    assert net.contacts == [("provisional", "a")]


@pytest.mark.requirement("SZTP-5.5-06")
@pytest.mark.refuses("SZTP-5.5-06")
def test_5_5_anchors_in_an_untrusted_redirect_are_thrown_away() -> None:
    net = Net()
    entry = net.owner.entry("a", anchor=net.owner.learned)
    net.medium(net.owner.unsigned(net.owner.redirect(entry)))
    server = net.server("a", net.owner.unsigned(GOOD), issuer=net.owner.learned.der)
    assert net.run().reason is Reason.UNSIGNED_NOT_ALLOWED
    assert net.contacts == [("provisional", "a")]
    assert server.requests[0][1].signed_data_preferred


@pytest.mark.requirement("SZTP-7.3-01")
def test_7_3_redirect_information_gets_no_report_from_a_trusted_server_either() -> None:
    net = Net()
    first = net.trusted_server("a", net.owner.unsigned(net.owner.redirect(net.owner.entry("b"))))
    net.server("b", net.owner.signed(GOOD))
    net.preconfigured("a")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert first.reports == []


def test_5_5_an_entry_with_an_unusable_anchor_is_left_out_not_weakened() -> None:
    net = Net()
    leaf = net.owner.entry("a", anchor=net.owner.owner)
    net.medium(net.owner.signed(net.owner.redirect(leaf)))
    server = net.server("a", net.owner.signed(GOOD))
    assert net.run().reason is Reason.MALFORMED
    assert server.connections == []


@pytest.mark.refuses("SZTP-9.3-01")
@pytest.mark.requirement("SZTP-9.3-01")
def test_9_3_an_anchor_learned_from_a_redirect_is_gone_with_its_entry() -> None:
    net = Net()
    entry = net.owner.entry
    redirect = net.owner.redirect(entry("a", anchor=net.owner.learned), entry("b"))
    net.medium(net.owner.signed(redirect))
    net.server("a", UNREACHABLE, issuer=net.owner.learned.der)
    net.server("b", net.owner.unsigned(GOOD), issuer=net.owner.learned.der)
    net.preconfigured("b")
    assert net.run().kind is OutcomeKind.REFUSED
    assert net.untouched


# --- bounds ----------------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.3-09")
@pytest.mark.refuses("SZTP-5.3-09", "SZTP-5.3-08")
def test_5_3_at_most_ten_redirects_in_a_row_then_the_next_source() -> None:
    net = Net()
    loop = net.server("loop", net.owner.unsigned(net.owner.redirect(net.owner.entry("loop"))))
    net.dhcp("loop")
    net.medium(net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED
    assert len(loop.requests) == 11


@pytest.mark.requirement("SZTP-5.3-09")
def test_5_3_depth_is_counted_not_width() -> None:
    net = Net()
    names = [f"s{number}" for number in range(20)]
    redirect = net.owner.redirect(*(net.owner.entry(name) for name in names), net.owner.entry("z"))
    net.medium(net.owner.unsigned(redirect))
    for name in names:
        net.server(name, UNREACHABLE)
    net.server("z", net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED


def test_a_source_gets_so_many_servers_and_the_next_one_its_turn() -> None:
    net = Net()
    wide = net.owner.redirect(*(net.owner.entry(f"t{number}") for number in range(30)))
    hops = tuple(provisional_hop(f"s{number}", 443) for number in range(100))
    for hop in hops:
        net.server(hop.host, net.owner.unsigned(wide))
    net.source("dhcp", FoundServers("DHCP", hops))
    net.medium(net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED
    assert len(net.contacts) <= limits.SERVERS_PER_SOURCE
    assert net.bootstrapped


def test_a_source_gets_so_much_time_and_the_next_one_its_turn() -> None:
    net = Net(WorkflowSettings(source_seconds=30))
    net.dhcp(*(f"s{number}" for number in range(20)))
    net.world.connect_seconds = 10.0
    for number in range(20):
        net.server(f"s{number}", UNREACHABLE)
    net.medium(net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED
    assert len(net.contacts) == 3


@pytest.mark.parametrize("trusted", [True, False])
def test_the_time_of_a_source_can_end_between_two_addresses(*, trusted: bool) -> None:
    net = Net(WorkflowSettings(source_seconds=15))
    net.world.connect_seconds = 10.0
    addresses = tuple(f"192.0.2.{number}" for number in range(1, 6))
    issuer = net.owner.servers.der if trusted else None
    net.server("a", UNREACHABLE, issuer=issuer, ips=addresses, dead_ips=frozenset(addresses))
    (net.preconfigured if trusted else net.dhcp)("a")
    assert net.run().reason is Reason.TIMEOUT
    assert len(net.contacts) == 2


# --- enclosing loops, identity, nonces -------------------------------------------------------


@pytest.mark.requirement("SZTP-5.6-14", "SZTP-5.3-11")
@pytest.mark.refuses("SZTP-5.6-14", "SZTP-5.3-11")
def test_5_6_failed_data_leads_to_the_next_server_not_to_the_beginning() -> None:
    net = Net()
    first = net.trusted_server("a", net.owner.unsigned(document(pre_script=b"exit 9")))
    net.trusted_server("b", net.owner.unsigned(GOOD))
    net.preconfigured("a", "b")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.contacts == [("trusted", "a"), ("trusted", "b")]
    assert len(first.requests) == 1


def test_one_bad_server_does_not_shut_out_the_rest() -> None:
    net = Net()
    answers: list[Artifacts | XpuAgentError] = [
        net.owner.unsigned(GOOD),
        Artifacts(b"junk"),
        net.owner.signed(GOOD, serial="SN2"),
        MalformedError("not an output"),
        IdentityError(Reason.CLIENT_CERT_REFUSED, "alert"),
    ]
    for number, bad in enumerate(answers):
        net.server(f"bad{number}", bad)
    net.server("good", net.owner.signed(GOOD))
    net.dhcp(*(f"bad{number}" for number in range(5)), "good")
    assert net.run().kind is OutcomeKind.COMPLETED
    assert net.bootstrapped


def test_a_refused_identity_is_the_end_only_if_nobody_took_it() -> None:
    refused = IdentityError(Reason.CLIENT_CERT_REFUSED, "alert: bad certificate")
    net = Net()
    net.server("a", refuses_identity=refused)
    net.dhcp("a")
    assert net.run().reason is Reason.CLIENT_CERT_REFUSED
    net.server("b", net.owner.unsigned(GOOD))
    net.dhcp("b")
    assert net.run().reason is Reason.UNSIGNED_NOT_ALLOWED


@pytest.mark.requirement("SZTP-7.3-06")
def test_7_3_each_request_has_a_nonce_of_its_own() -> None:
    net = Net()
    net.server("a", net.owner.unsigned(GOOD))
    net.server("b", net.owner.unsigned(GOOD))
    net.dhcp("a", "b")
    net.run()
    net.run()
    nonces = [r.nonce for s in net.world.servers.values() for _, r in s.requests]
    assert len(nonces) == 4
    assert len(set(nonces)) == 4


@pytest.mark.requirement("VCH-5.3-03")
def test_vch_5_3_a_nonce_sent_to_one_server_counts_at_the_next_of_the_source() -> None:
    net = Net()
    nonce = (1).to_bytes(32, "big")
    net.server("a", net.owner.unsigned(net.owner.redirect(net.owner.entry("b"))))
    net.server("b", net.owner.signed(GOOD, nonce=nonce))
    net.dhcp("a")
    assert net.run().kind is OutcomeKind.COMPLETED


@pytest.mark.refuses("VCH-5.3-03")
def test_vch_5_3_a_nonce_of_another_source_does_not_count() -> None:
    net = Net()
    nonce = (1).to_bytes(32, "big")
    net.server("a", UNREACHABLE)
    net.dhcp("a")
    net.medium(net.owner.signed(GOOD, nonce=nonce))
    outcome = net.run()
    assert outcome.reason is Reason.VOUCHER_NONCE_MISMATCH
    assert net.untouched


@pytest.mark.parametrize("where", ["load", "next", "server"])
def test_a_signal_ends_the_attempt_wherever_it_comes(where: str) -> None:
    net = Net()
    if where == "load":
        net.source("usb", StoppedError())
    elif where == "next":
        net.source("usb", FoundServers("nothing", ()), StoppedError())
    else:
        net.server("a", StoppedError())
        net.dhcp("a")
    net.medium(net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.STOPPED
    assert net.untouched


# --- offers ----------------------------------------------------------------------------------


def test_offers_are_consumed_one_by_one() -> None:
    net = Net()
    source = net.source(
        "dns",
        FoundArtifacts("mDNS TXT", net.owner.unsigned(GOOD)),
        FoundArtifacts("unicast TXT", net.owner.signed(GOOD)),
        FoundServers("mDNS SRV", (provisional_hop("never", 443),)),
    )
    assert net.run().kind is OutcomeKind.COMPLETED
    assert source.taken == 2


@pytest.mark.refuses("SZTP-5.2-02")
@pytest.mark.parametrize(
    "error",
    [
        SourceUnavailableError(Reason.NO_SOURCE, "no medium"),
        MalformedError("TXT record"),
        IdentityError(Reason.IDEVID_MISSING, "no certificate"),
    ],
)
def test_a_source_that_fails_after_an_offer_lets_the_next_have_its_turn(
    error: XpuAgentError,
) -> None:
    net = Net()
    net.source("dns", FoundArtifacts("mDNS TXT", Artifacts(b"junk")), error)
    net.source("usb", error)
    net.medium(net.owner.signed(GOOD))
    assert net.run().kind is OutcomeKind.COMPLETED
