"""Accidents, faults and deaths, tried on a router that has traffic: ``scripts/reliability``.

``accidents`` is the one table of what somebody may do; ``bench`` does it to a router and judges
what became of it; ``faults``, ``deaths`` and ``endurance`` are for what is not in a table;
``page`` writes docs/reliability.md. The test suite uses the same parts.
"""
