"""What ``scripts/demo`` runs: nvid at work between two uplinks, with real packets.

``story`` is the demonstration, step by step; ``network`` the namespaces it happens in, ``router``
the daemon, ``programs`` and ``narration`` how things are run and told. ``webserver`` runs by
itself. Nothing of this is installed with nvid.
"""
