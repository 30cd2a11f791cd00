"""The wrapper around libnftables, and how large tables change."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nvid.errors import ForeignObject, KernelRefused
from nvid.kernel import counters, ruleset, tables
from nvid.kernel.nft import Nft
from tests import samples
from tests.kernel.conftest import Router

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nft(router: Router) -> Nft:
    return router.call(Nft)


class TestWrapper:
    def test_a_transaction_is_done_whole_or_not_at_all(self, router: Router, nft: Nft) -> None:
        with pytest.raises(KernelRefused):
            router.call(nft.run, "add table inet a\nadd rule inet a missing drop\n")
        assert router.call(nft.show, "list table inet a") is None

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("add rule inet nowhere c drop", "No such file or directory"),
            ("add table inet a\nnonsense here\n", "syntax error"),
            (
                "add table inet a\nadd chain inet a c { type nat hook forward priority 0; }",
                "not sup",
            ),
        ],
    )
    def test_a_refusal_has_nfts_own_words(
        self, router: Router, nft: Nft, text: str, words: str
    ) -> None:
        with pytest.raises(KernelRefused, match=words) as refused:
            router.call(nft.run, text)
        assert str(refused.value).startswith("nftables: ")
        assert "/proc/self/fd" not in str(refused.value)

    def test_a_refusal_says_which_line(self, router: Router, nft: Nft) -> None:
        text = "add table inet a\nadd chain inet a c\nadd rule inet a c snat to nonsense\n"
        with pytest.raises(KernelRefused, match=r"transaction line 3:\d+-\d+: Error"):
            router.call(nft.run, text)

    def test_what_does_not_exist_is_none(self, router: Router, nft: Nft) -> None:
        assert router.call(nft.show, "list table inet nvid") is None
        assert router.call(ruleset.observe, nft) is None
        assert router.call(counters.read) == {}

    def test_an_ordinary_user_is_told_so(self, router: Router) -> None:
        program = textwrap.dedent("""
            import os
            from nvid.errors import NotPermitted
            from nvid.kernel.nft import Nft
            os.setuid(65534)
            for attempt in (lambda: Nft().run("add table inet a"),
                            lambda: Nft().show("list table inet nvid")):
                try:
                    attempt()
                except NotPermitted as error:
                    print(error)
        """)
        done = subprocess.run(
            ["ip", "netns", "exec", router.namespace.name, sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        assert done.stdout.count("CAP_NET_ADMIN") == 2

    def test_descriptors_are_closed(self, router: Router, nft: Nft) -> None:
        def descriptors() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        router.call(nft.run, "add table inet a")
        gc.collect()  # What other tests have left to be closed is not counted.
        before = descriptors()
        for _ in range(20):
            router.call(nft.run, "add table inet a")
            with pytest.raises(KernelRefused):
                router.call(nft.run, "nonsense")
        assert descriptors() == before


class TestFlags:
    """libnftables 1.0.6 uses what it has freed when it prints a table with one flag."""

    @pytest.mark.parametrize("version", ["ip", "ip6", "inet"])
    def test_tables_of_others(self, router: Router, version: str) -> None:
        done = router.converge(samples.EVERY_KIND)
        router.namespace.nft(f"add table {version} others {{ flags dormant; }}")
        assert done.desired.ruleset is not None
        assert self.look(router) == str(len(done.desired.ruleset.chains))

    def test_what_holds_the_hooks(self, router: Router) -> None:
        done = router.converge(samples.EVERY_KIND)
        router.call(router.reconciler.hold_hooks)
        assert done.desired.ruleset is not None
        assert self.look(router) == str(len(done.desired.ruleset.chains))

    def test_a_dormant_table_is_made_anew(self, router: Router) -> None:
        router.converge(samples.EVERY_KIND)
        router.namespace.nft("add table inet nvid { flags dormant; }")
        router.converge(samples.EVERY_KIND)
        assert router.call(tables.flags) == {"nvid": 0}
        assert router.converge(samples.EVERY_KIND).changes == ()

    def test_a_dormant_table_of_somebody_else(self, router: Router, nft: Nft) -> None:
        router.namespace.nft("add table inet nvid { flags dormant; }")
        with pytest.raises(ForeignObject, match="rename it"):
            router.call(ruleset.observe, nft)

    @staticmethod
    def look(router: Router) -> str:
        """The number of chains seen by a process where freed memory is overwritten at once."""
        program = textwrap.dedent("""
            from nvid.kernel import ruleset
            from nvid.kernel.nft import Nft
            print(len(ruleset.observe(Nft()).chains))
        """)
        looked = subprocess.run(
            ["ip", "netns", "exec", router.namespace.name, sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "MALLOC_PERTURB_": "85"},
        )
        return looked.stdout.strip()


class TestLargeTables:
    """Ten thousand statics of each family: a change of one is a change of one."""

    COUNT = 10_000

    def text(self, changed: int | None = None) -> str:
        lines = ['[nvi.nvi0]\ninterfaces = ["lan0"]\nreach = []\n']
        for n in range(self.COUNT // 2):
            high, low = n >> 8, n & 255
            other = 128 if n == changed else 0
            lines.append(
                f'[[nvi.nvi0.static]]\nlocal = "10.{high}.{low}.1"\n'
                f'global = "198.18.{high | other}.{low}"\n'
                f'[[nvi.nvi0.static]]\nlocal = "fd00::{n:x}"\n'
                f'global = "2001:db8:{other:x}::{n:x}"\n'
            )
        return "".join(lines)

    def test_a_reload_that_changes_one(self, router: Router) -> None:
        before, after = samples.configuration(self.text()), samples.configuration(self.text(4000))
        router.converge(before)
        prepared = router.call(router.reconciler.prepare, after)
        lines = prepared.difference.table.lines
        # For each family one out and one in, in a few maps; and a counter.
        assert 0 < len(lines) <= 30
        # Where neighbouring addresses are joined to prefixes, one may split into one for each bit.
        assert sum(line.count(",") for line in lines) <= 32 + 128
        assert not any("chain" in line or "rule" in line for line in lines)
        router.converge(after)
        again = router.call(router.reconciler.prepare, after, look_at_table=True)
        assert list(again.difference.lines()) == []


class TestWhatRulesFill:
    """65536 endpoints that hosts hold are no burden to whoever looks at the table."""

    def test_a_look_does_not_read_it(self, router: Router, tmp_path: Path) -> None:
        done = router.converge(samples.ENDPOINTS_AND_BLOCKS)
        assert done.desired.ruleset is not None
        (held,) = (each for each in done.desired.ruleset.dynamics if each.name.endswith("ip6_in"))
        endpoints = (f"2001:db8::{n >> 8:x} . {n & 255}" for n in range(held.size))
        elements = ", ".join(f"{each} : {each}" for each in endpoints)
        file = tmp_path / "elements"
        file.write_text(f"add element inet nvid {held.name} {{ {elements} }}\n")
        router.namespace.run("nft", "-f", str(file), timeout=60)
        program = textwrap.dedent("""
            import resource
            from nvid.kernel import ruleset
            from nvid.kernel.nft import Nft

            def most() -> int:
                return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

            before = most()
            table = ruleset.observe(Nft())
            print(most() - before, len(table.maps))
        """)
        looked = subprocess.run(
            ["ip", "netns", "exec", router.namespace.name, sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        kilobytes, maps = map(int, looked.stdout.split())
        assert maps == len(done.desired.ruleset.maps)
        assert kilobytes < 10_000
