"""What plain generators of Python make of the workloads."""

import line
from line import Stopwatch


def counting():
    while True:
        yield


def switch(params, n):
    resume = counting().__next__
    with Stopwatch() as watch:
        for _ in range(n):
            resume()
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

    def empty():
        return
        yield

    with Stopwatch() as watch:
        for _ in range(n):
            for _ in empty():
                pass
    return watch


if __name__ == "__main__":
    line.main("python", {"switch": switch, "switch_many": switch_many, "gen_sum": gen_sum, "create": create})
