"""What holds for every test."""

import os

# The choice of algorithms, which some tests look at, is the built-in one, not that of this machine's file.
os.environ.setdefault("FASTCONV_TUNING", "off")
