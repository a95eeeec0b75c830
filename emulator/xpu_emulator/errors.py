# SPDX-License-Identifier: Apache-2.0
"""What the emulator's commands can't do, said in one sentence."""


class EmulatorError(Exception):
    """A request that can't be met: bad input, a folder or a tool that is missing.

    The message is one plain sentence for a person; commands print it and exit 2.
    """
