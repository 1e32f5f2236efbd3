"""What plain generators of Python make of the workloads."""

import line
from line import Stopwatch


def counting():
    """Yields how often it was resumed: so that nobody is skipped unseen."""
    count = 0
    while True:
        count += 1
        yield count


def switch(params, n):
    resume = counting().__next__
    with Stopwatch() as watch:
        for _ in range(n):
            resume()
    line.check("round trips", resume(), n + 1)
    return watch


def switch_many(params, n):
    resumes = [counting().__next__ for _ in range(params["count"])]
    done = 0
    with Stopwatch() as watch:
        while done < n:
            turn = resumes[: n - done]
            for resume in turn:
                resume()
            done += len(turn)
    line.check("round trips", sum(resume() for resume in resumes), n + len(resumes))
    return watch


def gen_sum(params, n):
    def numbers():
        i = 0
        while i < n:
            yield i
            i += 1

    total = 0
    with Stopwatch() as watch:
        for number in numbers():
            total += number
    line.check("sum", total, line.sum_below(n))
    return watch


def create(params, n):
    if not params["pool"]:
        line.unsupported("python keeps the memory of what has ended")

    ran = 0

    def empty():
        nonlocal ran
        ran += 1
        return
        yield

    with Stopwatch() as watch:
        for _ in range(n):
            for _ in empty():
                pass
    line.check("generators that ran", ran, n)
    return watch


if __name__ == "__main__":
    line.main("python", {"switch": switch, "switch_many": switch_many, "gen_sum": gen_sum, "create": create})
