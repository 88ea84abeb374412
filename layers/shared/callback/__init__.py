"""Two-leg voice callbacks: ring one party, then the other, join them, keep an honest record."""

import logging

# Lambda prints what libraries log as well, at the level that it was told. At INFO the carrier's
# SDK logs whom it asks about; at DEBUG boto3 logs requests and answers whole, secrets included.
# Our own loggers have a level of their own.
logging.getLogger().setLevel(logging.ERROR)
