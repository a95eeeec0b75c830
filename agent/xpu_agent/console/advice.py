# SPDX-License-Identifier: Apache-2.0
"""What to do about each reason: one short clause for whoever stands before the device."""

from xpu_agent.errors import Reason

_R = Reason

NEXT_ACTIONS: dict[Reason, str] = {
    _R.NO_LINK: "plug in the cable, or set network.interfaces",
    _R.NO_ADDRESS: "see that DHCP answers on this network",
    _R.NO_SOURCE: "serve data by DHCP, DNS, medium or a server",
    _R.SERVER_UNREACHABLE: "start the server, or open the firewall",
    _R.DNS_FAILED: "see that the name is known to the resolver",
    _R.HTTP_ERROR: "look into the bootstrap server's log",
    _R.TIMEOUT: "see whether server and network are overloaded",
    _R.SERVER_CERT_EXPIRED: "renew its certificate, or set the clock",
    _R.SERVER_CERT_NOT_YET_VALID: "set this device's clock",
    _R.SERVER_CERT_UNKNOWN_ISSUER: "add its issuer to trust.server-anchors",
    _R.SERVER_CERT_NAME_MISMATCH: "name the server as its certificate does",
    _R.SERVER_CERT_REVOKED: "give the server a new certificate",
    _R.CLIENT_CERT_REFUSED: "let the server trust this device's manufacturer",
    _R.IDEVID_MISSING: "set identity.certificate and private-key",
    _R.IDEVID_EXPIRED: "replace the device certificate, or set the clock",
    _R.MALFORMED: "mend the data; `xpu-agent inspect` tells more",
    _R.UNSIGNED_NOT_ALLOWED: "sign the data, or serve it from a trusted server",
    _R.TOO_LARGE: "make the data smaller",
    _R.DECRYPTION_FAILED: "encrypt to this device's certificate",
    _R.VOUCHER_UNTRUSTED: "get a voucher from the trusted manufacturer",
    _R.VOUCHER_EXPIRED: "have the voucher renewed",
    _R.VOUCHER_NOT_YET_VALID: "set this device's clock",
    _R.VOUCHER_SERIAL_MISMATCH: "use the voucher issued for this serial number",
    _R.VOUCHER_ISSUER_MISMATCH: "use a voucher for this device's issuer",
    _R.VOUCHER_ASSERTION: "get a verified voucher, or see trust.assertions",
    _R.VOUCHER_NONCE_MISMATCH: "get a voucher with the nonce just sent",
    _R.OWNER_CERT_UNTRUSTED: "use the owner certificate the voucher pins",
    _R.OWNER_CERT_EXPIRED: "renew the owner certificate",
    _R.OWNER_CERT_REVOKED: "sign with an owner certificate that stands",
    _R.REVOCATION_UNKNOWN: "add fresh revocation lists for the owner",
    _R.SIGNATURE_INVALID: "sign the data anew; it was changed",
    _R.CLOCK_UNTRUSTED: "set the real-time clock",
    _R.REDIRECT_DEPTH: "shorten the chain of redirects",
    _R.TOO_MANY_SERVERS: "name fewer bootstrap servers",
    _R.IMAGE_MISMATCH: "nothing: the wanted image is being fetched",
    _R.IMAGE_UNREACHABLE: "see that the image's URIs answer",
    _R.IMAGE_HASH_MISMATCH: "publish the image that was signed for",
    _R.IMAGE_SIGNATURE: "publish an image signed for this platform",
    _R.DISK_FULL: "use a smaller image, or a larger slot",
    _R.INSTALL_FAILED: "look at the platform's message above",
    _R.SLOT_UNAVAILABLE: "free the spare slot",
    _R.ROLLED_BACK: "publish another image: this one never got up",
    _R.PRE_SCRIPT_FAILED: "mend the pre-configuration script",
    _R.POST_SCRIPT_FAILED: "mend the post-configuration script",
    _R.SCRIPT_TIMEOUT: "mend the script, or raise limits.script-seconds",
    _R.CONFIG_INVALID: "mend the configuration that was served",
    _R.CONFIG_REJECTED: "mend the configuration: it was rejected",
    _R.CONFIG_DISK_FULL: "make room where the configuration is kept",
    _R.FLAG_STILL_ON: "let a script run `xpu-agent disable`",
    _R.INITIAL_REPORT_FAILED: "see why the server takes no reports",
    _R.FINAL_REPORT_FAILED: "see why the server takes no reports",
    _R.PLATFORM_FAILED: "look at the platform's hooks and messages",
    _R.UNDO_FAILED: "run `xpu-agent reprovision`",
    _R.STATE_CORRUPT: "run `xpu-agent reprovision`",
    _R.STATE_UNWRITABLE: "make paths.state writable",
    _R.INTERNAL: "report this, with the log of `-v`",
    _R.USAGE: "see `xpu-agent --help`",
    _R.AGENT_CONFIG: "run `xpu-agent check-config`",
    _R.LOCKED: "wait for the other agent to end",
    _R.STOPPED: "run it again: state is kept",
}


def next_action(reason: Reason) -> str:
    """The clause for `reason`; total over `Reason`."""
    return NEXT_ACTIONS[reason]
