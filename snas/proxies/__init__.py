"""Room: proxies."""
