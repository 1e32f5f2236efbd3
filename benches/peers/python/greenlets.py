"""What greenlets make of the workloads."""

import line
from greenlet import getcurrent, greenlet
from line import Stopwatch


def counting(parent):
    switch = parent.switch
    while True:
        switch()


def switch(params, n):
    g = greenlet(counting)
    g.switch(getcurrent())
    resume = g.switch
    with Stopwatch() as watch:
        for _ in range(n):
            resume()
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
    return watch


def symmetric(params, n):
    """Two greenlets beside the main one, which waits."""

    def other(first):
        back = first.switch
        while True:
            back()

    def first():
        b = greenlet(other, getcurrent().parent)
        b.switch(getcurrent())
        there = b.switch
        with Stopwatch() as watch:
            for _ in range(n):
                there()
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

    def empty():
        pass

    with Stopwatch() as watch:
        for _ in range(n):
            greenlet(empty).switch()
    return watch


if __name__ == "__main__":
    functions = {"switch": switch, "switch_many": switch_many, "symmetric": symmetric, "gen_sum": gen_sum, "create": create}
    line.main("greenlet", functions)
