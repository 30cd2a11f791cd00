"""The test lab: namespaces, topologies, traffic, snapshots and the daemon under test."""

from tests.lab.daemon import METRICS, Notification, Nvid
from tests.lab.foreign import ForeignCounter
from tests.lab.namespaces import Lab, Namespace, namespaces_of_this_run, remove_namespace
from tests.lab.processes import CommandFailed
from tests.lab.snapshot import MachineState, machine_state
from tests.lab.topologies import TwoUplinks, forward, two_uplinks
from tests.lab.traffic import Exchange, FlowReport, LongFlow, Observer, Seen, Unanswered, exchange
from tests.lab.waiting import wait_until

__all__ = [
    "METRICS",
    "CommandFailed",
    "Exchange",
    "FlowReport",
    "ForeignCounter",
    "Lab",
    "LongFlow",
    "MachineState",
    "Namespace",
    "Notification",
    "Nvid",
    "Observer",
    "Seen",
    "TwoUplinks",
    "Unanswered",
    "exchange",
    "forward",
    "machine_state",
    "namespaces_of_this_run",
    "remove_namespace",
    "two_uplinks",
    "wait_until",
]
