"""Loggers belong to the service from the start, as in Lambda.

A logger is made when its module is imported, and a test module may import it before any function is
loaded: without a service name it would belong to nobody, and no test would hear it.
"""

import os

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "voice-callback")

pytest_plugins = ["tests.canary", "tests.quick_moto", "tests.quick_python"]
