"""python -m tests.api_document [--max-examples N] [--seed N]: see fuzz.py. Fails on any finding."""

import argparse
import sys

from tests.api_document import SPEED, fuzz
from tests.local.stack import LocalStack


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.api_document", description=fuzz.__doc__)
    parser.add_argument("--max-examples", type=int, default=1000, help="of each operation")
    parser.add_argument("--at-least", type=int, default=0, help="cases that must have been run")
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    with LocalStack(speed=SPEED, environ={}) as stack:
        run = fuzz.against(stack.url, stack.key, max_examples=asked.max_examples, seed=asked.seed)
    print(run.said)
    print(f"{run.cases} cases: {dict(run.phases)}; answers: {dict(run.statuses)}")
    if run.cases < asked.at_least:
        print(f"{asked.at_least} cases were asked for", file=sys.stderr)
        return 1
    return run.code


if __name__ == "__main__":
    sys.exit(main())
