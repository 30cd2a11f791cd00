"""The desired nftables table, as a value.

Read ``classify`` first: it follows a packet into the NVI. Then ``translate`` (DNAT and SNAT),
``bind`` (the lane), ``crossing`` (out of the pair), ``account`` (counters), ``guard`` (what must
not leave).
"""

from __future__ import annotations

from nvid import names
from nvid.desired.ruleset.account import accounting, labels_of
from nvid.desired.ruleset.bind import binding
from nvid.desired.ruleset.classify import classification
from nvid.desired.ruleset.crossing import crossing
from nvid.desired.ruleset.guard import guards
from nvid.desired.ruleset.helpers import helper_objects
from nvid.desired.ruleset.model import Chain, Ruleset, join
from nvid.desired.ruleset.tenants import tenant_objects
from nvid.desired.ruleset.translate import translation
from nvid.desired.ruleset.words import Plan

__all__ = ["Plan", "Ruleset", "ruleset"]


def ruleset(plan: Plan) -> Ruleset:
    """The whole table for a plan."""
    label_bits = labels_of(plan.nvis, plan.uplinks)
    counting, counted = accounting(plan, label_bits)
    return join(
        [
            Ruleset((Chain(names.OWNER_CHAIN),)),
            crossing(plan),
            classification(plan, counting),
            tenant_objects(plan),
            translation(plan, label_bits),
            binding(plan, counting),
            counted,
            helper_objects(plan),
            guards(plan),
        ]
    )
