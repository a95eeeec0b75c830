# SPDX-License-Identifier: Apache-2.0
"""`python -m xpu_emulator` is `xpu-emulator`."""

import sys

from xpu_emulator.cli import main

sys.exit(main())
