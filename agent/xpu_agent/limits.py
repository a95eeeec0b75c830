# SPDX-License-Identifier: Apache-2.0
"""Every bound on what comes from outside, with its unit.

A bound is enforced while reading, never after. Those an operator may change stand in the
configuration (`limits:`) with the defaults named `DEFAULT_*` here.
"""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Artifacts and documents (octets).
ARTIFACT_BYTES = 4 * MIB  # one CMS artifact over the network
MEDIA_ARTIFACT_BYTES = 1 * MIB  # one artifact file on a removable medium
RPC_RESPONSE_BYTES = 16 * MIB  # a get-bootstrapping-data response body
ERROR_BODY_BYTES = 64 * KIB  # body of a 4xx/5xx, of host-meta, of a report's answer
HTTP_HEADER_BYTES = 64 * KIB
SCRIPT_BYTES = 1 * MIB
CONFIGURATION_BYTES = 4 * MIB

# Structure.
JSON_DEPTH = 16
XML_DEPTH = 16
DER_DEPTH = 32
DER_NODES = 524288  # elements of one DER structure; a full CRL has seven for each entry
DOCUMENT_NODES = 4096  # members and elements of one JSON or XML document
STRING_CHARS = 4096  # one text leaf other than binary ones
URI_CHARS = 2048
DOWNLOAD_URIS = 16  # of one boot image
IMAGE_VERIFICATIONS = 8
CERTIFICATES = 16  # in one SignedData
REVOCATION_OBJECTS = 16  # in one SignedData
REVOKED_ENTRIES = 65536  # in one CRL
SIGNERS = 8  # in one SignedData
RECIPIENTS = 32  # in one EnvelopedData
EXTENSIONS = 32  # in one certificate
NAME_CONSTRAINTS = 64  # permitted and excluded subtrees of one certificate, together
ANCHORS = 32

# Work of the trust core.
SIGNATURE_CHECKS = 64  # public key operations for one bundle
PATH_DEPTH = 8  # certificates in one path
PATH_STEPS = 256  # certificates looked at in search of paths, for one bundle
NAME_OCTETS = 1 * MIB  # of names compared with name constraints, for one bundle

# Redirects (RFC 8572, 5.3).
REDIRECT_DEPTH = 10
SERVERS_PER_LIST = 32
SERVERS_PER_SOURCE = 64  # servers contacted for one top-level source
ADDRESSES_PER_SERVER = 8

# Time (seconds).
CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 60.0  # one RPC, first byte to last
KEEP_SECONDS = 30.0  # an idle connection is trusted to be still there
HOST_META_SECONDS = 10.0  # then the usual root is assumed
REPORT_SECONDS = 20.0
FINAL_REPORT_SECONDS = 60.0  # retries of `bootstrap-complete` on new connections
STALL_SECONDS = 30.0  # an image transfer without a byte
STALL_BYTES = 16 * KIB  # that an image transfer has to bring in STALL_SECONDS of waiting
DEFAULT_SCRIPT_SECONDS = 600
HOOK_SECONDS = 600.0  # a hook that writes: configuration-apply, image-commit, wipe, ...
HOOK_QUESTION_SECONDS = 60.0  # a hook that only answers: facts, reboot, ...
HOOK_NOTIFY_SECONDS = 2.0
HOOK_STALL_SECONDS = 120.0  # an image-write hook that reads nothing
HOOK_REBOOT_WAIT_SECONDS = 300.0  # the longest one `wait-seconds` may ask for
DEFAULT_ATTEMPT_SECONDS = 24 * 3600
DEFAULT_SOURCE_SECONDS = 6 * 3600
BACKOFF_FIRST_SECONDS = 5.0
BACKOFF_MAX_SECONDS = 300.0

# The boot image.
DEFAULT_IMAGE_BYTES = 64 * GIB
IMAGE_RETRIES = 5  # broken transfers resumed or restarted, for one URI
READ_BUFFER_BYTES = 128 * KIB  # stays in the processor's cache from socket to disk (make bench)

# Output and records.
SCRIPT_OUTPUT_BYTES = 64 * KIB
REPORT_MESSAGE_BYTES = 1 * KIB
HOOK_ANSWER_BYTES = 64 * KIB
HOOK_CHECKPOINT_CHARS = 4096
HOOK_TRIES = 4  # of a hook that says "try later"
HISTORY_RECORDS = 256
HISTORY_BYTES = 256 * KIB
REFUSED_BUNDLES = 3
REFUSED_BYTES = 8 * MIB

# Our own files.
CONFIG_FILE_BYTES = 256 * KIB  # one configuration file
ANCHORS_FILE_BYTES = 1 * MIB  # one PEM file of anchors, a chain or a key
CONFIG_DEPTH = 8
STATE_BYTES = 256 * KIB
LOG_LINE_BYTES = 900  # one kmsg record

# Nonces (RFC 8572, 7.3: 16 to 32 octets sent; RFC 8366, 5.3: 8 to 32 in a voucher).
NONCE_BYTES = 32
