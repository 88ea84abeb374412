pytest_plugins = ["tests.canary"]
