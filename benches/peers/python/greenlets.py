"""What greenlets make of the workloads."""

import line
from greenlet import getcurrent, greenlet
from line import Stopwatch


def counting(parent):
    """Counts how often it was resumed, and hands that over."""
    switch = parent.switch
    count = 0
    while True:
        switch(count)
        count += 1


def switch(params, n):
    g = greenlet(counting)
    g.switch(getcurrent())
    resume = g.switch
    with Stopwatch() as watch:
        for _ in range(n):
            resume()
    line.check("round trips", resume(), n + 1)
    return watch


def switch_many(params, n):
    resumes = []
    for _ in range(params["count"]):
        g = greenlet(counting)
        g.switch(getcurrent())
        resumes.append(g.switch)
    done = 0
    with Stopwatch() as watch:
        while done < n:
            turn = resumes[: n - done]
            for resume in turn:
                resume()
            done += len(turn)
    line.check("round trips", sum(resume() for resume in resumes), n + len(resumes))
    return watch


def symmetric(params, n):
    """Two greenlets beside the main one, which waits."""

    def other(first):
        back = first.switch
        count = 0
        while True:
            back(count)
            count += 1

    def first():
        b = greenlet(other, getcurrent().parent)
        b.switch(getcurrent())
        there = b.switch
        with Stopwatch() as watch:
            for _ in range(n):
                there()
        line.check("round trips", there(), n + 1)
        return watch

    return greenlet(first).switch()


def gen_sum(params, n):
    def numbers(consumer):
        hand_over = consumer.switch
        for i in range(n):
            hand_over(i)
        return None

    total = 0
    with Stopwatch() as watch:
        g = greenlet(numbers)
        number = g.switch(getcurrent())
        resume = g.switch
        while number is not None:
            total += number
            number = resume()
    line.check("sum", total, line.sum_below(n))
    return watch


def create(params, n):
    if not params["pool"]:
        line.unsupported("a greenlet's stack is on the thread's")

    ran = 0

    def empty():
        nonlocal ran
        ran += 1

    with Stopwatch() as watch:
        for _ in range(n):
            greenlet(empty).switch()
    line.check("greenlets that ran", ran, n)
    return watch


if __name__ == "__main__":
    functions = {"switch": switch, "switch_many": switch_many, "symmetric": symmetric, "gen_sum": gen_sum, "create": create}
    line.main("greenlet", functions)
