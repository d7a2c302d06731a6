"""`python -m dtsgan` is the command `dtsgan`, for environments whose scripts are not on the path."""

import sys

from dtsgan.cli import main

if __name__ == "__main__":
    sys.exit(main())
