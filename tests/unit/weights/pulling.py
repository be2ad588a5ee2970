"""A process of its own that pulls the tiny model: `python pulling.py [LIMIT]`; prints the weights' SHA-256.

LIMIT is the largest file, in bytes, that it may write (RLIMIT_FSIZE), which stands for a full disk.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from t2l_cli.errors import T2LError
from t2l_cli.weights import cache, download


def main() -> int:
    """Pull, say the outcome in one line, and return the exit code."""
    if len(sys.argv) > 1:
        limit = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        got = download.fetch("tiny", "tester/tiny", ("open_clip_model.safetensors",), False, None)
    except T2LError as error:
        print(error)
        return error.exit_code
    assert Path(got.path).parent == cache.weights_dir("tester/tiny")
    print(got.sha256)
    return 0


if __name__ == "__main__":
    sys.exit(main())
