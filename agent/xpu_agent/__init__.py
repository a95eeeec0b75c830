# SPDX-License-Identifier: Apache-2.0
"""Onboarding agent for DPU and IPU images: secure zero-touch provisioning after RFC 8572."""

__version__ = "0.1.0"
