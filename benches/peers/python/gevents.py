"""What gevent's greenlets, queues and locks make of the workloads."""

import contextlib
import socket

import gevent
import line
from gevent.event import Event
from gevent.lock import Semaphore
from gevent.queue import Channel, Queue
from gevent.server import StreamServer
from line import Stopwatch


def in_a_task(work):
    """Runs a round as tasks are run in other systems: not in the hub's main greenlet."""
    return lambda params, n: gevent.spawn(work, params, n).get()


def spawn_join(params, n):
    task = (lambda: gevent.sleep(0)) if params["wait"] else (lambda: None)
    joined = 0
    with Stopwatch() as watch:
        while joined < n:
            size = min(params["batch"], n - joined)
            tasks = [gevent.spawn(task) for _ in range(size)]
            for each in tasks:
                each.join()
            joined += size
    line.check("tasks joined", joined, n)
    return watch


def yield_now(params, n):
    def yielding(times):
        for _ in range(times):
            gevent.sleep(0)
        return times

    with Stopwatch() as watch:
        tasks = [gevent.spawn(yielding, line.share(n, task, params["tasks"])) for task in range(params["tasks"])]
        yields = sum(task.get() for task in tasks)
    line.check("yields", yields, n)
    return watch


def ring_of(n, tasks, make):
    def pass_on(inbox, following):
        highest = 0
        while True:
            counter = inbox.get()
            if counter is None:
                return highest
            highest = counter
            if counter == n:
                over.set()
                return highest
            following.put(counter + 1)

    over = Event()
    with Stopwatch() as watch:
        inboxes = [make() for _ in range(tasks)]
        passing = [gevent.spawn(pass_on, inboxes[i], inboxes[(i + 1) % tasks]) for i in range(tasks)]
        inboxes[0].put(1)
        over.wait()
        for task, inbox in zip(passing, inboxes):
            if not task.ready():
                inbox.put(None)
        highest = max(task.get() for task in passing)
    line.check("the highest number", highest, n)
    return watch


def ping_pong(params, n):
    make = {"bounded1": lambda: Queue(1), "unbounded": Queue, "rendezvous": Channel}[params["chan"]]
    return ring_of(n, 2, make)


def ring(params, n):
    return ring_of(n, params["tasks"], lambda: Queue(1))


def mpmc(params, n):
    producers, consumers = params["producers"], params["consumers"]
    with Stopwatch() as watch:
        items = Queue(params["cap"])

        def send(producer):
            first = n * producer // producers
            for number in range(first, first + line.share(n, producer, producers)):
                items.put(number)

        def add():
            total = 0
            while (number := items.get()) is not None:
                total += number
            return total

        adding = [gevent.spawn(add) for _ in range(consumers)]
        gevent.joinall([gevent.spawn(send, producer) for producer in range(producers)], raise_error=True)
        for _ in range(consumers):
            items.put(None)
        total = sum(task.get() for task in adding)
    line.check("the sum of what was received", total, line.sum_below(n))
    return watch


def skynet(params, n):
    wait = params["wait"]

    def node(first, size):
        if wait:
            gevent.sleep(0)
        if size == 1:
            return first
        parts = [(first + size * i // 10, line.share(size, i, 10)) for i in range(10)]
        return sum(task.get() for task in [gevent.spawn(node, *part) for part in parts if part[1]])

    with Stopwatch() as watch:
        total = node(0, n)
    line.check("the sum of the leaves", total, line.sum_below(n))
    return watch, {"total_ms": watch.wall * 1e3}


def fib(params, n):
    k, wait = params["k"], params["wait"]
    of = k - 5 if n < max(line.fib_by_sums(k + 1) - 1, 1) and k > 5 else k

    def call(k):
        if k < 2:
            return k
        first = gevent.spawn(waiting, k - 1)
        second = call(k - 2)
        return first.get() + second

    def waiting(k):
        if wait:
            gevent.sleep(0)
        return call(k)

    with Stopwatch() as watch:
        found = call(of)
    line.check("the Fibonacci number", found, line.fib_by_sums(of))
    return watch, {"total_ms": watch.wall * 1e3}


def idle_mem(params, n):
    before = line.memory()
    event, waiting = Event(), Semaphore(0)

    def park():
        waiting.release()
        event.wait()

    with Stopwatch() as creation:
        tasks = [gevent.spawn(park) for _ in range(n)]
        for _ in range(n):
            waiting.acquire()
    now = line.memory()
    with Stopwatch() as release:
        event.set()
        gevent.joinall(tasks, raise_error=True)
    rss, tables = (now[0] - before[0]) / n, (now[1] - before[1]) / n
    found = {"rss_bytes_per_task": rss, "pte_bytes_per_task": tables, "bytes_per_task": rss + tables, "maps": now[2]}
    return creation, {**found, "create_s": creation.wall, "release_s": release.wall}


def sleep_many(params, n):
    from time import perf_counter

    late = []

    def sleep(number):
        due = perf_counter() + line.nap(number)
        gevent.sleep(line.nap(number))
        late.append((perf_counter() - due) * 1e3)

    with Stopwatch() as watch:
        gevent.joinall([gevent.spawn(sleep, number) for number in range(n)], raise_error=True)
    line.check("tasks that slept", len(late), n)
    late.sort()
    found = {"wall_s": watch.wall, "cpu_s": watch.cpu, "late_p50_ms": late[(n - 1) // 2]}
    found.update({"late_p99_ms": late[(n - 1) * 99 // 100], "late_max_ms": late[-1]})
    watch.wall = watch.cpu
    return watch, found


def timeout_churn(params, n):
    items, total = Queue(1), 0
    helper = gevent.spawn(lambda: [items.put(i) for i in range(n)]) if params["wait"] else None
    with Stopwatch() as watch:
        for i in range(n):
            if not helper:
                items.put(i)
            with gevent.Timeout(10):
                total += items.get()
    line.check("sum", total, line.sum_below(n))
    return watch


def mutex(params, n):
    # A lock that is not recursive, as elsewhere.
    lock, tasks, count = Semaphore(1), params["tasks"], 0

    def add(times):
        nonlocal count
        for _ in range(times):
            with lock:
                count += 1
                if params["yield_in"]:
                    gevent.sleep(0)

    with Stopwatch() as watch:
        gevent.joinall([gevent.spawn(add, line.share(n, task, tasks)) for task in range(tasks)], raise_error=True)
    line.check("the count", count, n)
    return watch


def echo(params):
    """A server, until it is killed."""

    def serve(stream, address):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Clients go away in the middle.
        with contextlib.suppress(OSError):
            while data := stream.recv(1024):
                stream.sendall(data)

    # Its default is an accept at a time, and 256 connections that wait for one.
    server = StreamServer(("127.0.0.1", 0), serve, backlog=1024)
    server.start()
    print(f"LISTEN {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    rounds = [spawn_join, yield_now, ping_pong, ring, mpmc, skynet, fib, idle_mem, sleep_many, timeout_churn, mutex]
    line.main("gevent", {work.__name__: in_a_task(work) for work in rounds}, {"echo": echo})
