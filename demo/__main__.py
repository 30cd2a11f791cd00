"""``python -m demo``: exit status 0 only when everything was as it should be."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

from demo.narration import Narrator
from demo.network import network
from demo.programs import ProgramFailed
from demo.story import Story


def main() -> int:
    """Run the demonstration and say how it went."""
    if os.geteuid() != 0:
        sys.stderr.write("the demo needs root, for its network namespaces: sudo ./scripts/demo\n")
        return 4
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    tell = Narrator()
    started = time.monotonic()
    try:
        with network() as net:
            _tell_story(Story(net, tell), tell)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; everything was removed\n")
        return 130
    except ProgramFailed as failure:
        tell.judge("the lab can be built", good=False, otherwise=str(failure))
    seconds = time.monotonic() - started
    if tell.failures:
        tell.conclude(f"{len(tell.failures)} of these things were not as expected:")
        tell.show("\n".join(tell.failures))
        return 1
    tell.conclude(f"Everything was as expected, in {seconds:.0f} seconds. The lab is removed.")
    return 0


def _tell_story(story: Story, tell: Narrator) -> None:
    try:
        story.run()
    except ProgramFailed as failure:
        tell.judge("the demonstration goes on to its end", good=False, otherwise=str(failure))
    if tell.failures:
        tell.say("The daemon's log:")
        tell.show(story.log())


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")


sys.exit(main())
