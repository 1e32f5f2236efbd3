"""The command line, the repetitions and the line of JSON that every measured system shares, in Python.

examples/workloads/line/ is the original: the same keys and defaults, the same exit codes, the same way to count and time.
"""

import json
import resource
import statistics
import sys
import time

# A number is a key's default; of words the first is.
THREADS = {"threads": 1}
PLACE = {"place": ("auto", "same", "apart")}
CHAN = {"chan": ("bounded1", "unbounded", "rendezvous")}
WORKLOADS = {
    "switch": {"n": 10_000_000},
    "switch_many": {"n": 2_000_000, "count": 10_000},
    "symmetric": {"n": 10_000_000},
    "gen_sum": {"n": 10_000_000},
    "create": {"n": 1_000_000, "pool": 1},
    "spawn_join": {"n": 1_000_000, "batch": 1000, "wait": 0, **THREADS},
    "yield_now": {"n": 2_000_000, "tasks": 2, **THREADS},
    "ping_pong": {"n": 1_000_000, **CHAN, **PLACE, **THREADS},
    "ring": {"n": 1_000_000, "tasks": 503, **PLACE, **THREADS},
    "mpmc": {"n": 4_000_000, "cap": 128, "producers": 4, "consumers": 4, **THREADS},
    "skynet": {"n": 1_000_000, "wait": 0, **THREADS},
    "fib": {"k": 30, "wait": 0, **THREADS},
    "idle_mem": {"n": 100_000, **THREADS},
    "sleep_many": {"n": 100_000, **THREADS},
    "timeout_churn": {"n": 1_000_000, "wait": 0, **THREADS},
    "mutex": {"n": 1_000_000, "tasks": 8, "yield_in": 0, **THREADS},
    "echo": {**THREADS},
}


class Failure(Exception):
    """Ends the program with a code: 1 for a wrong result, 2 for a mistake in the command line, 3 for what is not there."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def unsupported(why):
    raise Failure(3, f"UNSUPPORTED {why}")


def check(what, found, expected):
    if found != expected:
        raise Failure(1, f"FAIL {what}: expected {expected}, found {found}")


def parse(keys, arguments):
    keys = {**keys, "reps": 5}
    params = {name: default[0] if isinstance(default, tuple) else default for name, default in keys.items()}
    for argument in arguments:
        name, found, text = argument.partition("=")
        if not found or name not in keys:
            raise Failure(2, f"unknown key in '{argument}'; this workload has {', '.join(keys)}")
        if isinstance(keys[name], tuple):
            if text not in keys[name]:
                raise Failure(2, f"'{argument}': expected one of {', '.join(keys[name])}")
            params[name] = text
        elif text.replace("_", "").isdigit():
            params[name] = int(text.replace("_", ""))
        else:
            raise Failure(2, f"'{argument}': expected a whole number")
    return params


def cpu_time():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Stopwatch:
    """Times what its `with` holds: `wall` and `cpu`, in seconds."""

    def __enter__(self):
        self.cpu = cpu_time()
        self.wall = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.wall
        self.cpu = cpu_time() - self.cpu


def share(n, part, parts):
    """How many of n operations one of some parts does."""
    return n * (part + 1) // parts - n * part // parts


def sum_below(n):
    return n * (n - 1) // 2


def fib_by_sums(k):
    a, b = 0, 1
    for _ in range(k):
        a, b = b, a + b
    return a


def nap(number):
    """For how many seconds the task with this number sleeps."""
    return (number * 0x9E3779B97F4A7C15 % 2**64) % 1_000_000_000 * 1e-9


def kib(file, name):
    """The line `name: 123 kB` of a file that the kernel made."""
    with open(file) as lines:
        for line in lines:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


def memory():
    """Bytes in memory, bytes of page tables, mappings."""
    with open("/proc/self/maps") as maps:
        return kib("/proc/self/smaps_rollup", "Rss") * 1024, kib("/proc/self/status", "VmPTE") * 1024, len(maps.readlines())


def main(peer, functions, servers={}):
    """Runs what the command line says. A function takes the parameters and n, and returns a stopwatch, or one and a dictionary of
    what it found besides. A server takes the parameters, and runs until it is killed."""
    try:
        if len(sys.argv) < 2 or sys.argv[1] not in WORKLOADS:
            known = sys.argv[1:2] in (["select"], ["parallel_speedup"], ["wake_remote"], ["wake_latency"], ["idle_cpu"], ["stall"])
            if known:
                unsupported(f"{peer} has nothing to do '{sys.argv[1]}' with")
            raise Failure(2, f"usage: {peer} WORKLOAD [key=value ...]; there are {', '.join(WORKLOADS)}")
        name = sys.argv[1]
        params = parse(WORKLOADS[name], sys.argv[2:])
        if name not in functions and name not in servers:
            unsupported(f"{peer} has nothing to do '{name}' with")
        if params.get("threads", 1) != 1:
            unsupported(f"{peer} has one thread")
        if params.get("place", "auto") != "auto":
            unsupported(f"{peer} has no other place")
        if name in servers:
            servers[name](params)
            raise Failure(1, "FAIL the server ended")
        n = params["n"] if "n" in params else max(fib_by_sums(params["k"] + 1) - 1, 1)
        functions[name](params, max(n // 10, 1))
        results = [functions[name](params, n) for _ in range(params["reps"])]
    except Failure as failure:
        print(failure, file=sys.stderr)
        sys.exit(failure.code)
    watches = [result[0] if isinstance(result, tuple) else result for result in results]
    found = [result[1] if isinstance(result, tuple) else {} for result in results]
    ns = [watch.wall * 1e9 / n for watch in watches]
    extra = {"min_ns": min(ns), "max_ns": max(ns), "all_ns": ns}
    extra["cpu_per_wall"] = sum(watch.cpu for watch in watches) / sum(watch.wall for watch in watches)
    extra.update({name: statistics.median(each[name] for each in found) for name in found[0]})
    shown = {name: value for name, value in params.items() if name not in ("n", "reps")}
    middle = statistics.median(ns)
    line = {"peer": peer, "workload": name, "params": shown, "n": n, "ns_per_op": round(middle, 2), "ops_per_s": round(1e9 / middle, 1)}
    line.update({"rss_kib": kib("/proc/self/status", "VmHWM"), "extra": extra})
    print(json.dumps(line, separators=(",", ":")))
