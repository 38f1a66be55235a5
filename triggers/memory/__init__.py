"""A queue in this process with a broker's behaviour, for tests; func.yaml cannot select it."""
