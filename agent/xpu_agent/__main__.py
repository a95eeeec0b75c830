# SPDX-License-Identifier: Apache-2.0
"""`python -m xpu_agent`."""

import sys

from xpu_agent.cli import main

sys.exit(main())
