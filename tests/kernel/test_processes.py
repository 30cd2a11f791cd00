"""Names of processes from /proc and from the kernel's accounting."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from nvid.kernel.processes import name_of
from tests.lab import wait_until

GONE = 1 << 22
"""Above the largest process id of the kernel."""


def test_a_running_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        wait_until(lambda: name_of(process.pid) == "sleep")
        process.kill()


def test_a_process_that_is_gone() -> None:
    assert name_of(GONE) is None


def test_where_proc_shows_nobody_else() -> None:
    """As under the unit: an ordinary user with CAP_NET_ADMIN, and hidepid=invisible."""
    program = textwrap.dedent(f"""
        import os
        from pathlib import Path
        from nvid.kernel.processes import name_of
        assert not Path("/proc/1").exists()
        print(name_of(1), name_of({GONE}), name_of(os.getpid()))
    """)
    capability = "net_admin,+dac_read_search"
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-ec"),
            'mount -t proc -o hidepid=invisible proc /proc; exec "$@"',
            *("sh", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *(f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"),
            *(sys.executable, "-c", program),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    first = Path("/proc/1/comm").read_text().strip()
    assert done.stdout.split() == [first, "None", "python"]
