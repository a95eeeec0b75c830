# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every bench, one after another. BENCH_MIB and BENCH_DIR change size and place."""

from tests.bench import image_path, start

if __name__ == "__main__":
    start.main()
    image_path.main()
