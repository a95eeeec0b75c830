# SPDX-License-Identifier: Apache-2.0
"""Onboarding agent for DPU and IPU images: secure zero-touch provisioning after RFC 8572."""

__version__ = "0.1.0"

# No working clock is earlier than this (see `clock`); moved with every release.
BUILD_DATE = "2026-11-27"
