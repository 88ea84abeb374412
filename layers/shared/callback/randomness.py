"""The source of random numbers that are no secrets: waits, and shards of counters.

It is the operating system's. All sandboxes that Lambda restores from one snapshot have the same
state of `random`, so they would draw the same numbers (Lambda, "Handling uniqueness with Lambda
SnapStart").
"""

import random

source = random.SystemRandom()
