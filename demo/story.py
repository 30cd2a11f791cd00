"""The demonstration, step by step. Each step says why, shows real output, and judges it."""

from __future__ import annotations

import re
from collections.abc import Callable

from demo.narration import Narrator
from demo.network import PICTURE, ROUTER_ON_WAN0, SERVER, STATIC, Count, Network
from demo.programs import ProgramFailed
from demo.router import CONFIGURATION, ROOT, Router, wait_until

FAMILIES = (4, 6)
_POOL = {4: re.compile(r"198\.51\.101\.(8|9|1[0-5])"), 6: re.compile(r"2001:db8:101::[89a-f]")}
_SCRAPE = ("curl", "--silent", "http://127.0.0.1:9477/metrics")
_PYTHON = str(ROOT / ".venv" / "bin" / "python")


class Story:
    """One demonstration on one network."""

    def __init__(self, network: Network, narrator: Narrator) -> None:
        self._net = network
        self._tell = narrator
        self._router = Router(network)
        for host in ("web", "server"):
            network.start(host, _PYTHON, "-m", "demo.webserver", DEMO_HOST=host)
        self._iperf = network.start("server", "iperf3", "--server", "--forceflush")

    def run(self) -> None:
        """All of it. Raises ProgramFailed where it cannot go on."""
        self._introduce()
        before = self._without()
        self._start()
        self._ping()
        self._http()
        self._bulk()
        self._static()
        packets = self._metrics()
        self._status()
        self._accident(packets)
        self._down(before)

    def log(self) -> str:
        """The daemon's log, for when something went wrong."""
        return self._router.log()

    # Steps

    def _introduce(self) -> None:
        tell = self._tell
        tell.say(
            """
            A NAT Virtual Interface (NVI) is an interface that a flow crosses to be translated: it
            is routed once to get there, and once more, with its new addresses, to go on. This
            shows it at work between two internet providers, with real packets in network
            namespaces; nothing outside of them is touched.
            """
        )
        tell.gap()
        tell.show(PICTURE)
        tell.gap()
        tell.say('"client$" means: typed on the client. Counters are read at the providers.')
        for host, port in (("web", 80), ("server", 80), ("server", 5201)):
            self._wait_for_listener(host, port)

    def _without(self) -> str:
        self._tell.step(
            "Without nvid",
            "The router forwards and has a default route, but it translates nothing: isp1 sees "
            "private sources, and no reply finds its way back.",
        )
        before = self._net.counts()
        for family in FAMILIES:
            self._show_ping(family, "-c", "2", "-i", "0.2", "-W", "0.3")
        self._packets(before, isp1=lambda seen: seen == Count(4, 4), isp2=_nothing)
        return self._router.kernel()

    def _start(self) -> None:
        self._tell.step(
            "Start nvid",
            "One file says which interfaces are NAT-enabled, how sources are translated, and where "
            "translated packets go.",
        )
        shown = [
            line.partition("#")[0].rstrip()
            for line in CONFIGURATION.read_text().splitlines()
            if not line.startswith("#")
        ]
        self._tell.show("\n".join(shown))
        self._router.start()
        self._tell.command("router", ["nvid", "run", "&"], self._router.log())
        self._tell.judge("nvid says that all is well", self._router.ask("status").status == 0)

    def _ping(self) -> None:
        self._tell.step(
            "A ping out",
            "The source becomes the address of the uplink that the second lookup picks: isp1, "
            "whose priority is the better one.",
        )
        before = self._net.counts()
        for family in FAMILIES:
            answered = self._show_ping(family, "-c", "3", "-i", "0.2", "-W", "2")
            self._tell.expect(f"answers over IPv{family}", answered, 3)
        self._packets(before, isp1=lambda seen: seen == Count(6, 0), isp2=_nothing)

    def _http(self) -> None:
        self._tell.step(
            "A web page",
            "The web server tells every visitor which address it saw: never the client's own.",
        )
        before = self._net.counts()
        for family in FAMILIES:
            said = self._fetch("client", SERVER[family])
            good = said == f"server saw {ROUTER_ON_WAN0[family]}"
            self._tell.judge("that is the router's address on wan0", good)
        self._packets(before, isp1=_only_translated, isp2=_nothing)

    def _bulk(self) -> None:
        self._tell.step(
            "A bulk transfer by the second uplink",
            "Transfers to port 5201 get a source from isp2's pool, and a route entry sends what "
            "has such a source to isp2. That is the second lookup: it sees the TRANSLATED packet, "
            "where an ordinary router decides on the way before it translates the source.",
        )
        for family in FAMILIES:
            before = self._net.counts()
            argv = ("iperf3", "--client", SERVER[family], "--bytes", "200M", "--format", "m")
            done = self._net.run("client", *argv)
            lines = [line for line in done.output.splitlines() if "receiver" in line]
            self._tell.command("client", argv, "\n".join(["[...]", *lines]))
            self._tell.expect("exit status", done.status, 0)
            self._packets(before, isp1=_nothing, isp2=_only_translated)
            seen = self._accepted(family)
            good = bool(_POOL[family].fullmatch(seen))
            self._tell.judge(f"iperf3 on the server accepted a connection from {seen}", good)

    def _static(self) -> None:
        self._tell.step(
            "A server behind the router",
            "A static translation works in both directions, and on every NAT-enabled interface: "
            "whoever calls the global address reaches the web server in the DMZ, and the web "
            "server itself is seen at that address when it calls others.",
        )
        for family in FAMILIES:
            said = self._fetch("server", STATIC[family])
            good = said == f"web saw {SERVER[family]}"
            self._tell.judge("the web server in the DMZ has answered the server", good)
        for family in FAMILIES:
            said = self._fetch("web", SERVER[family])
            good = said == f"server saw {STATIC[family]}"
            self._tell.judge("that is the web server's global address", good)
        for family in FAMILIES:
            said = self._fetch("client", STATIC[family])
            good = said == f"web saw {ROUTER_ON_WAN0[family]}"
            self._tell.judge("hairpin: from inside to the global address and back inside", good)

    def _status(self) -> None:
        self._tell.step("How is it?", "Everything at one glance; the exit status says the same.")
        done = self._router.ask("status")
        self._tell.command("router", ["nvid", "status"], done.output)
        self._tell.expect("exit status", done.status, 0)

    def _accident(self, packets: dict[str, float]) -> None:
        self._tell.step(
            "An accident: nft flush ruleset",
            "Somebody wipes out the table that translates, while the client sends 500 packets a "
            "second in each family. nvid sees it and mends it; until then, packets are dropped: "
            "none leaves with its private source.",
        )
        before = self._net.counts()
        floods = [
            self._net.start("client", *_ping(family, "-q", "-i", "0.002", "-c", "1000", "-W", "1"))
            for family in FAMILIES
        ]
        wait_until(lambda: self._sent_since(before) > 400, "no packets flow")
        self._net.must_run("router", "nft", "flush", "ruleset")
        self._tell.command("router", ["nft", "flush", "ruleset"], "")
        for family, flood in zip(FAMILIES, floods, strict=True):
            sent, received, line = _summary(flood.wait().output)
            self._tell.command("client", _ping(family, "-q", "-i", "0.002", "-c", "1000"), line)
            answered = f"IPv{family}: {received} of {sent} answered, {sent - received} lost"
            self._tell.judge(answered, received > 0.8 * sent)
        wait_until(lambda: self._router.ask("status").status == 0, "nvid is not healthy again")
        seen = {host: now - before[host] for host, now in self._net.counts().items()}
        leaked = sum(count.private for count in seen.values())
        self._tell.expect("packets that left untranslated, counted by isp1 and isp2", leaked, 0)
        done = self._router.ask("status")
        repairs = [
            line for line in done.output.splitlines() if "repair" in line or " ago: " in line
        ]
        self._tell.command("router", ["nvid", "status"], "\n".join(["[...]", *repairs]))
        self._tell.judge("nvid knows who it was", "disturbed by nft" in done.output)
        now = _of_translations(self._scrape())
        kept = all(now[name] >= packets[name] for name in packets)
        self._tell.judge("the counters of the translations went on from where they were", kept)

    def _metrics(self) -> dict[str, float]:
        """Answers the packets of each translation."""
        self._tell.step(
            "Metrics", "For Prometheus: packets by translation, uplinks, pools, repairs."
        )
        # They are read from the kernel at most every few seconds, however often somebody asks.
        wait_until(
            lambda: min(_of_translations(self._scrape()).values(), default=0) > 0,
            "a translation has counted no packets",
        )
        scraped = self._scrape()
        names = ("nvid_flows", "nvid_translation_packets_total", "nvid_pool", "nvid_uplink_up")
        lines = [line for line in scraped.splitlines() if line.startswith(names)]
        self._tell.command("router", _SCRAPE, "\n".join(["[...]", *lines, "[...]"]))
        packets = _of_translations(scraped)
        self._tell.judge(f"all {len(packets)} translations have counted packets", len(packets) == 4)
        return packets

    def _scrape(self) -> str:
        return self._net.must_run("router", *_SCRAPE)

    def _down(self, before: str) -> None:
        self._tell.step(
            "Take it away",
            "nvid removes what it owns, and nothing else; sysctls get their old values.",
        )
        done = self._router.ask("down")
        removed = done.output.splitlines()
        middle = [f"[... {len(removed) - 4} more ...]"]
        self._tell.command(
            "router", ["nvid", "down"], "\n".join(removed[:2] + middle + removed[-2:])
        )
        self._tell.expect("exit status", done.status, 0)
        self._router.wait_for_end()
        same = self._router.kernel() == before
        self._tell.judge(
            "links, addresses, rules, routes, nftables and sysctls are as before", same
        )

    # Parts of steps

    def _show_ping(self, family: int, *options: str) -> int:
        argv = _ping(family, *options)
        done = self._net.run("client", *argv)
        _, received, line = _summary(done.output)
        answers = [each for each in done.output.splitlines() if "bytes from" in each]
        self._tell.command("client", argv, "\n".join([*answers, line]))
        return received

    def _fetch(self, host: str, address: str) -> str:
        url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
        argv = ("curl", "--silent", "--show-error", "--max-time", "5", url)
        done = self._net.run(host, *argv)
        self._tell.command(host, argv, done.output)
        return done.output.strip()

    def _packets(
        self,
        before: dict[str, Count],
        *,
        isp1: Callable[[Count], bool],
        isp2: Callable[[Count], bool],
    ) -> None:
        """Say and judge what the providers counted since ``before``."""
        now = self._net.counts()
        for host, good in (("isp1", isp1), ("isp2", isp2)):
            seen = now[host] - before[host]
            words = f"{host} got {seen.all} packets, {seen.private} with a private source"
            self._tell.judge(words, good(seen))

    def _sent_since(self, before: dict[str, Count]) -> int:
        return sum((now - before[host]).all for host, now in self._net.counts().items())

    def _wait_for_listener(self, host: str, port: int) -> None:
        listeners = ("ss", "-Htln", "sport", "=", f":{port}")
        wait_until(
            lambda: self._net.must_run(host, *listeners).strip(),
            f"nothing listens on port {port} of {host}",
        )

    def _accepted(self, family: int) -> str:
        """Whom iperf3 on the server accepted last, in a family."""
        found = re.findall(r"Accepted connection from (\S+),", self._iperf.log.read_text())
        return next((each for each in reversed(found) if (":" in each) == (family == 6)), "nobody")


def _of_translations(scraped: str) -> dict[str, float]:
    """Packets by translation, in the words of the metrics."""
    found = re.findall(r"^nvid_translation_packets_total(\{.*\}) (\S+)$", scraped, re.MULTILINE)
    return {name: float(value) for name, value in found}


def _nothing(seen: Count) -> bool:
    return seen.all == 0


def _only_translated(seen: Count) -> bool:
    return seen.all > 0 and seen.private == 0


def _ping(family: int, *options: str) -> tuple[str, ...]:
    return ("ping", *options, SERVER[family])


def _summary(output: str) -> tuple[int, int, str]:
    """Packets sent and received, and the line of ping that says so. Raises ProgramFailed."""
    for line in output.splitlines():
        found = re.match(r"(\d+) packets transmitted, (\d+) received", line)
        if found:
            return int(found[1]), int(found[2]), line
    raise ProgramFailed(f"ping said: {output}")
