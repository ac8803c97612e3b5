#!/usr/bin/env python3
"""Builds a static dashboard of a sparse autoencoder's features: `python build.py --help`."""

import sys

from sitegen.cli import main

if __name__ == "__main__":
    sys.exit(main())
