# SPDX-License-Identifier: Apache-2.0
"""An SZTP world in a box: authorities, artifacts, servers, and their faults (RFC 8572)."""
