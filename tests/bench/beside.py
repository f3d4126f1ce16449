#!/usr/bin/env python3
"""How much slower others get while an agent reads and hashes everything beside them.

    cargo build --release -p vedette-node-agent
    tests/bench/beside.py target/release/vedette-agent --pairs 24            # both workloads, /usr is what is hashed
    tests/bench/beside.py target/release/vedette-agent --only read --path /opt -- --cpu-limit none

An agent in standalone mode makes a first baseline of --path, over and over, which reads and hashes as a re-hash does and commits
more. Pairs of runs of a workload alternate: one with the agent stopped (SIGSTOP), one with it running; who begins alternates
too. What counts is the median of the ratios of pairs, with its 95 % interval by order statistics (no assumption on how they
spread). Needs cc; no quiet machine, but a busy one widens the interval. Options behind -- go to the agent.
"""
import argparse, math, os, shutil, signal, statistics, subprocess, sys, tempfile, time, urllib.request

RULE = """apiVersion: vedette.dev/v1alpha1
kind: DataCollectionRule
metadata: {name: bench}
spec: {files: {interval: 10s, paths: [{name: all, path: %s, hashes: [Md5, Sha256], maxContentSize: 1Ti}]}}
"""
ADDRESS = "127.0.0.1:18973"


class Agent:
    def __init__(self, binary, path, options, folder):
        self.binary, self.options, self.folder = binary, options, folder
        self.process, self.totals, self.runs = None, {}, 0
        with open(f"{folder}/rule.yaml", "w") as rule:
            rule.write(RULE % path)
        self.start()

    def start(self):
        self.runs += 1
        state = f"{self.folder}/state-{self.runs}"
        command = [self.binary, "standalone", "--rule", f"{self.folder}/rule.yaml", "--state-dir", state, "--records", "none",
                   "--listen", ADDRESS, *self.options]
        self.process = subprocess.Popen(command, stderr=open(f"{self.folder}/agent.log", "a"))
        deadline = time.monotonic() + 60
        while self.metrics() is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(open(f"{self.folder}/agent.log").read())
            time.sleep(0.1)

    def metrics(self):
        try:
            text = urllib.request.urlopen(f"http://{ADDRESS}/metrics", timeout=5).read().decode()
        except OSError:
            return None
        return {name.removeprefix("vedette_agent_"): float(value) for name, value in
                (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("vedette_agent_"))}

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def beside(self, work):
        """Runs the work while the agent hashes; again when it came to its end meanwhile."""
        while True:
            self.go_on()
            before = self.metrics()
            took = work()
            after = self.metrics()
            if not any(name.startswith("scan_duration_seconds_count") and value for name, value in after.items()):
                for name in ("cpu_seconds_total", "read_bytes_total", 'scan_waited_seconds_total{reason="Cpu"}',
                             'scan_waited_seconds_total{reason="Read"}', 'scan_waited_seconds_total{reason="Pressure"}'):
                    self.totals[name] = self.totals.get(name, 0) + after[name] - before[name]
                self.totals["wall"] = self.totals.get("wall", 0) + took
                self.stop()
                return took
            self.end()
            self.start()

    def end(self):
        self.go_on()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(f"{self.folder}/state-{self.runs}")


def build(folder):
    """Compiles as make -j would, a job a core."""
    sources = []
    for at in range(4):
        sources.append(f"{folder}/{at}.c")
        with open(sources[-1], "w") as source:
            for f in range(120):
                source.write(f"int f{f}(int *p, int n) {{ int s = {at}; for (int i = 0; i < n; i++) {{ s += p[i] * {f} + (s >> 3);"
                             f" if (s % {f + 2} == 0) p[i] ^= s; }} return s; }}\n")
    listed = "\n".join(sources)

    def work():
        began = time.monotonic()
        subprocess.run(["xargs", "-P", str(os.cpu_count()), "-n", "1", "cc", "-O2", "-c", "-o", "/dev/null"], input=listed,
                       text=True, check=True)
        return time.monotonic() - began
    return work


def read(folder):
    """Reads 512 MiB in files of 1 MiB from the disk, none of it in the page cache before."""
    files = [f"{folder}/{at}" for at in range(512)]
    for file in files:
        with open(file, "wb") as out:
            out.write(os.urandom(1 << 20))
            out.flush()
            os.fsync(out.fileno())

    def work():
        for file in files:
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        began = time.monotonic()
        subprocess.run(["xargs", "-P", "2", "-n", "64", "cat"], input="\n".join(files), text=True, check=True,
                       stdout=subprocess.DEVNULL)
        return time.monotonic() - began
    return work


def interval(ratios):
    """The median's 95 % interval: the k-th smallest and largest, by the binomial distribution."""
    n, k, below = len(ratios), 0, 0.0
    while below + math.comb(n, k) / 2 ** n <= 0.025:
        below += math.comb(n, k) / 2 ** n
        k += 1
    ordered = sorted(ratios)
    return ordered[max(k - 1, 0)], ordered[n - max(k, 1)]


def main():
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[:own.index("--")], own[own.index("--") + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent")
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--path", default="/usr")
    parser.add_argument("--only", choices=["build", "read"])
    parser.add_argument("--null", action="store_true", help="leave the agent stopped in both runs: what the machine's noise gives")
    arguments = parser.parse_args(own)
    for name, prepare in (("build", build), ("read", read)):
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                os.mkdir(f"{folder}/work")
                work = prepare(f"{folder}/work")
                work()
                agent = Agent(arguments.agent, arguments.path, options, folder)
                try:
                    measure(name, work, agent, arguments)
                finally:
                    agent.end()


def measure(name, work, agent, arguments):
    ratios, alone = [], []
    for pair in range(arguments.pairs):
        def beside():
            return work() if arguments.null else agent.beside(work)

        def without():
            agent.stop()
            return work()
        if pair % 2:
            with_agent, without_agent = beside(), without()
        else:
            without_agent, with_agent = without(), beside()
        ratios.append(with_agent / without_agent)
        alone.append(without_agent)
        print(f"{name} {pair + 1}/{arguments.pairs}: {without_agent:.3f} s alone, {with_agent:.3f} s beside, {ratios[-1]:.3f}",
              file=sys.stderr, flush=True)
    low, high = interval(ratios)
    print(f"{name}: {(statistics.median(ratios) - 1) * 100:+.1f} % ({(low - 1) * 100:+.1f} to {(high - 1) * 100:+.1f}),"
          f" {len(ratios)} pairs of {statistics.median(alone):.2f} s; load {' '.join(f'{load:.1f}' for load in os.getloadavg())}")
    if agent.totals:
        wall = agent.totals.pop("wall")
        taken = ", ".join(f"{key} {value / wall:.3f}" for key, value in agent.totals.items())
        print(f"  the agent meanwhile, a second: {taken}", flush=True)


main()
