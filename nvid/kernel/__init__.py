"""The kernel, observed and changed: one module for each kind of object, and no policy.

This package, and nothing else, imports pyroute2 and nftables.
"""
