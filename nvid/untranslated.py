"""Which flows began before the table covered the interface that they come in by: pure questions.

Conntrack translates no flow that it knows, and does not show where one came in. Its source tells:
what lies in a connected network comes in by that interface. A source that is connected nowhere may
come by any interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from nvid.configuration.values import InterfacePattern, IPAddress
from nvid.flows import Flow
from nvid.machine import Machine


def began_before(offers: Iterable[str], machine: Machine) -> Callable[[Flow], bool]:
    """Tells the forwarded flows that may have begun untranslated by an interface of these patterns.

    Flows of the machine itself, and those that somebody else translates, are none of them. A flow
    that was ended in vain comes back with its next packet.
    """
    own = frozenset(machine.addresses())
    covered = {each.name for each in machine.enabled(map(InterfacePattern, offers))}
    if not covered:
        return lambda _: False
    here, elsewhere = (
        [
            each.interface.network
            for interface in machine.interfaces
            if (interface.name in covered) is is_covered and not interface.ours
            for each in interface.addresses
        ]
        for is_covered in (True, False)
    )

    @lru_cache(maxsize=4096)
    def may_come_from(source: IPAddress) -> bool:
        return any(source in each for each in here) or not any(source in each for each in elsewhere)

    def chosen(flow: Flow) -> bool:
        special = flow.destination.is_multicast or flow.source.is_loopback
        return not (
            flow.snat or flow.dnat or special or flow.source in own or flow.destination in own
        ) and may_come_from(flow.source)

    return chosen
