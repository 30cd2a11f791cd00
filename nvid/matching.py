"""What entries ask of a flow, asked of plain values: the same questions that the ruleset asks of
packets (``desired.ruleset.selection`` and ``destination`` write those).

``nvid explain`` asks them of a packet that is only imagined, ``flows`` of what conntrack shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvid.configuration.routes import Route
from nvid.configuration.translations import Dnat, Snat
from nvid.configuration.values import IPAddress, Pools
from nvid.desired.ruleset.destination import Selector
from nvid.desired.ruleset.words import PORT_PROTOCOLS, protocol


@dataclass(frozen=True, slots=True)
class Asked:
    """The first packet of a flow, as an entry sees it.

    ``source`` is that of the packet as it came. ``destination`` and ``port`` (0 for protocols
    without) are as they came for static and dnat entries, and as those left them for snat and route
    entries. ``protocol`` is a number. ``ingress`` is None where it is not known any more; then it
    rules no entry out.
    """

    protocol: int
    source: IPAddress
    destination: IPAddress
    port: int = 0
    ingress: str | None = None


def selected(selector: Selector, asked: Asked) -> bool:
    """Whether a static or dnat entry is for this destination."""
    return (
        asked.destination in selector.network
        and (not selector.protocols or asked.protocol in selector.protocols)
        and (selector.ports is None or selector.ports.first <= asked.port <= selector.ports.last)
    )


def within_limits(entry: Dnat, asked: Asked) -> bool:
    """Whether a dnat entry, found by its destination, is for this source and ingress."""
    return (not entry.sources or any(asked.source in each for each in entry.sources)) and _came_by(
        entry, asked
    )


def snat_takes(entry: Snat, asked: Asked) -> bool:
    """Whether an snat entry is for this flow, if no entry before it is."""
    version = asked.source.version
    if isinstance(entry.to, Pools) and all(part.version != version for part in entry.to.ranges):
        return False
    names = entry.protocols or (PORT_PROTOCOLS if entry.ports is not None else ())
    destination = asked.destination
    return (
        (not entry.sources or any(asked.source in each for each in entry.sources))
        and (not entry.destinations or any(destination in each for each in entry.destinations))
        and not any(destination in each for each in entry.excluded_destinations)
        and (not names or asked.protocol in map(protocol, names))
        and (entry.ports is None or entry.ports.first <= asked.port <= entry.ports.last)
        and _came_by(entry, asked)
    )


def route_takes(entry: Route, asked: Asked, source: IPAddress | None) -> bool:
    """Whether a route entry is for this flow; ``source`` is the translated one, None where it is
    not known yet. Which DSCP a packet has is not known: 0 is taken."""
    names = entry.protocols or (PORT_PROTOCOLS if entry.ports is not None else ())
    destination = asked.destination
    return (
        (not entry.sources or any(source in each for each in entry.sources if source))
        and (not entry.destinations or any(destination in each for each in entry.destinations))
        and (not names or asked.protocol in map(protocol, names))
        and (entry.ports is None or entry.ports.first <= asked.port <= entry.ports.last)
        and _came_by(entry, asked)
        and not entry.dscp
    )


def _came_by(entry: Dnat | Snat | Route, asked: Asked) -> bool:
    return (
        not entry.ingress
        or asked.ingress is None
        or any(each.matches(asked.ingress) for each in entry.ingress)
    )
