// What Boost.Context (the switch) and Boost.Fiber (tasks and channels) make of the workloads.
//
// With more than one thread, fibers are shared by `work_stealing`, which moves them while they wait. A channel of capacity 1 is a
// `buffered_channel` of capacity 2: its capacities are powers of two, and one place of it stays empty. Stacks are 64 KiB and
// without guards, as Boost has them. They are pooled: on one thread by Boost's own pool, which is for one thread alone; those of
// fibers, which end on other threads than they were made on, by a free list of each thread.
#include "line.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <thread>

#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/fiber/all.hpp>

namespace ctx = boost::context;
namespace fib = boost::fibers;
using namespace line;
using std::uint64_t;

namespace {

constexpr std::size_t STACK = 64 * 1024;
using stacks = ctx::pooled_fixedsize_stack;

// Stacks for fibers. What ends on a thread is kept by that thread, whoever made it, so no list is ever shared; what is too much
// for one, as where fibers are made here and end there, goes to a list of all under a lock, a batch at a time.
class shared_stacks {
    using list = std::vector<void*>;
    static constexpr std::size_t BATCH = 256;

    struct common {
        std::mutex lock;
        list stacks;
    };
    // Neither is destroyed: fibers may end as late as threads and the program do.
    static common& all() {
        static common* c = new common;
        return *c;
    }
    static list& own() {
        static thread_local list* l = new list;
        return *l;
    }

  public:
    ctx::stack_context allocate() {
        auto& free = own();
        if (free.empty()) {
            std::lock_guard<std::mutex> held(all().lock);
            auto& from = all().stacks;
            auto count = std::min(from.size(), BATCH);
            free.insert(free.end(), from.end() - std::ptrdiff_t(count), from.end());
            from.resize(from.size() - count);
        }
        void* base;
        if (free.empty()) {
            base = std::malloc(STACK);
            if (!base) throw std::bad_alloc();
        } else {
            base = free.back();
            free.pop_back();
        }
        ctx::stack_context stack;
        stack.size = STACK;
        stack.sp = static_cast<char*>(base) + STACK;
        return stack;
    }

    void deallocate(ctx::stack_context& stack) noexcept {
        auto& free = own();
        free.push_back(static_cast<char*>(stack.sp) - stack.size);
        // A thread that makes fibers has as many as it makes at once; what is more than a few of those goes round.
        if (free.size() < 64 * BATCH) return;
        std::lock_guard<std::mutex> held(all().lock);
        auto& to = all().stacks;
        to.insert(to.end(), free.end() - std::ptrdiff_t(32 * BATCH), free.end());
        free.resize(free.size() - 32 * BATCH);
    }
};

const key N_10M{"n", 10'000'000}, N_1M{"n", 1'000'000}, THREADS{"threads", 1};
const key PLACE{"place", 0, {"auto", "same", "apart"}};
const key CHAN{"chan", 0, {"bounded1", "unbounded", "rendezvous"}};

// ---- Boost.Context

// A coroutine that counts, and goes back to whoever resumed it, for ever.
//
// Each round makes its own, after the first has set the processor's sticky flag for inexact results: Boost restores the register
// that holds it at every switch, which takes 150 ns instead of 10 where the two sides differ in it.
ctx::fiber counting(stacks& pool, uint64_t& count) {
    return ctx::fiber(std::allocator_arg, pool, [&count](ctx::fiber&& resumer) {
        while (true) {
            count++;
            resumer = std::move(resumer).resume();
        }
        return std::move(resumer);
    });
}

report switches(const params& p) {
    stacks pool(STACK);
    return measure(p, p["n"], [&](uint64_t n) {
        uint64_t count = 0;
        // Resumed once before, as elsewhere: making it is not what is timed.
        ctx::fiber c = counting(pool, count).resume();
        sample s = timed([&] {
            for (uint64_t i = 0; i < n; i++) c = std::move(c).resume();
        });
        check("round trips", count, n + 1);
        return s;
    });
}

report switch_many(const params& p) {
    stacks pool(STACK);
    return measure(p, p["n"], [&](uint64_t n) {
        uint64_t count = 0;
        std::vector<ctx::fiber> all;
        for (uint64_t i = 0; i < p["count"]; i++) all.push_back(counting(pool, count).resume());
        sample s = timed([&] {
            for (uint64_t i = 0, next = 0; i < n; i++) {
                all[next] = std::move(all[next]).resume();
                if (++next == all.size()) next = 0;
            }
        });
        check("round trips", count, n + p["count"]);
        return s;
    });
}

// Two fibers that resume each other, without anybody between them.
report symmetric(const params& p) {
    stacks pool(STACK);
    return measure(p, p["n"], [&](uint64_t n) {
        uint64_t count = 0;
        sample s{};
        ctx::fiber a(std::allocator_arg, pool, [&](ctx::fiber&& main) {
            ctx::fiber b = counting(pool, count).resume();
            s = timed([&] {
                for (uint64_t i = 0; i < n; i++) b = std::move(b).resume();
            });
            return std::move(main);
        });
        a = std::move(a).resume();
        check("round trips", count, n + 1);
        return s;
    });
}

report gen_sum(const params& p) {
    stacks pool(STACK);
    return measure(p, p["n"], [&](uint64_t n) {
        uint64_t sum = 0;
        sample s = timed([&] {
            std::optional<uint64_t> item;
            ctx::fiber g(std::allocator_arg, pool, [&](ctx::fiber&& consumer) {
                for (uint64_t i = 0; i < n; i++) {
                    item = i;
                    consumer = std::move(consumer).resume();
                }
                item.reset();
                return std::move(consumer);
            });
            while (true) {
                g = std::move(g).resume();
                if (!item) break;
                sum += *item;
            }
        });
        check("sum", sum, sum_below(n));
        return s;
    });
}

report create(const params& p) {
    auto run = [&](auto& allocator) {
        return measure(p, p["n"], [&](uint64_t n) {
            uint64_t ran = 0;
            sample s = timed([&] {
                for (uint64_t i = 0; i < n; i++) {
                    ctx::fiber c(std::allocator_arg, allocator, [&](ctx::fiber&& resumer) {
                        ran++;
                        return std::move(resumer);
                    });
                    c = std::move(c).resume();
                }
            });
            check("coroutines that ran", ran, n);
            return s;
        });
    };
    if (p["pool"]) {
        stacks pool(STACK);
        return run(pool);
    }
    ctx::fixedsize_stack fresh(STACK);
    return run(fresh);
}

// ---- Boost.Fiber

// All workers of a program: this thread and others that steal, until it goes.
class workers {
    std::vector<std::thread> threads;
    fib::mutex fiber_lock;
    fib::condition_variable over;
    bool is_over = false;

  public:
    explicit workers(uint64_t count) {
        if (count == 1) return;
        for (uint64_t i = 1; i < count; i++)
            threads.emplace_back([this, count] {
                fib::use_scheduling_algorithm<fib::algo::work_stealing>(std::uint32_t(count), true);
                std::unique_lock<fib::mutex> held(fiber_lock);
                over.wait(held, [this] { return is_over; });
            });
        fib::use_scheduling_algorithm<fib::algo::work_stealing>(std::uint32_t(count), true);
    }

    ~workers() {
        {
            std::unique_lock<fib::mutex> held(fiber_lock);
            is_over = true;
        }
        over.notify_all();
        for (auto& thread : threads) thread.join();
    }
};

// A fiber on a pooled stack, posted: it runs when its turn comes.
template <typename F> fib::fiber spawn(F&& f) {
    return fib::fiber(fib::launch::post, std::allocator_arg, shared_stacks(), std::forward<F>(f));
}

void join_all(std::vector<fib::fiber>& fibers) {
    for (auto& f : fibers) f.join();
    fibers.clear();
}

report spawn_join(const params& p) {
    workers w(p["threads"]);
    bool wait = p["wait"];
    return measure(p, p["n"], [&](uint64_t n) {
        uint64_t joined = 0;
        std::vector<fib::fiber> fibers;
        sample s = timed([&] {
            while (joined < n) {
                uint64_t size = std::min(p["batch"], n - joined);
                for (uint64_t i = 0; i < size; i++)
                    fibers.push_back(spawn([wait] {
                        if (wait) boost::this_fiber::yield();
                    }));
                join_all(fibers);
                joined += size;
            }
        });
        check("tasks joined", joined, n);
        return s;
    });
}

report yield_now(const params& p) {
    workers w(p["threads"]);
    return measure(p, p["n"], [&](uint64_t n) {
        std::atomic<uint64_t> yields{0};
        sample s = timed([&] {
            std::vector<fib::fiber> fibers;
            for (uint64_t task = 0; task < p["tasks"]; task++)
                fibers.push_back(spawn([&yields, times = share(n, task, p["tasks"])] {
                    uint64_t i = 0;
                    for (; i < times; i++) boost::this_fiber::yield();
                    yields += i;
                }));
            join_all(fibers);
        });
        check("yields", yields.load(), n);
        return s;
    });
}

// Passes a counter through some tasks until it is `n`.
template <typename Channel> sample ring_of(uint64_t n, uint64_t tasks, const std::function<std::unique_ptr<Channel>()>& make) {
    uint64_t highest = 0;
    sample s = timed([&] {
        std::vector<std::unique_ptr<Channel>> inboxes;
        for (uint64_t i = 0; i < tasks; i++) inboxes.push_back(make());
        std::vector<fib::fiber> fibers;
        for (uint64_t i = 0; i < tasks; i++)
            fibers.push_back(spawn([&, i] {
                uint64_t counter;
                while (inboxes[i]->pop(counter) == fib::channel_op_status::success) {
                    if (counter == n) {
                        highest = counter;
                        for (auto& inbox : inboxes) inbox->close();
                        return;
                    }
                    inboxes[(i + 1) % tasks]->push(counter + 1);
                }
            }));
        inboxes[0]->push(1);
        join_all(fibers);
    });
    check("the highest number", highest, n);
    return s;
}

using buffered = fib::buffered_channel<uint64_t>;
using unbuffered = fib::unbuffered_channel<uint64_t>;

report ring_with(const params& p, uint64_t tasks, const std::string& chan) {
    if (p.word("place") != "auto") unsupported("Boost.Fiber places fibers itself");
    if (chan == "unbounded") unsupported("Boost.Fiber has no channels without a bound");
    workers w(p["threads"]);
    return measure(p, p["n"], [&](uint64_t n) {
        if (chan == "rendezvous") return ring_of<unbuffered>(n, tasks, [] { return std::make_unique<unbuffered>(); });
        return ring_of<buffered>(n, tasks, [] { return std::make_unique<buffered>(2); });
    });
}

report ping_pong(const params& p) { return ring_with(p, 2, p.word("chan")); }
report ring(const params& p) { return ring_with(p, p["tasks"], "bounded1"); }

report mpmc(const params& p) {
    workers w(p["threads"]);
    uint64_t producers = p["producers"], consumers = p["consumers"];
    return measure(p, p["n"], [&](uint64_t n) {
        std::vector<uint64_t> sums(consumers);
        sample s = timed([&] {
            buffered items(p["cap"]);
            std::vector<fib::fiber> sending, adding;
            for (uint64_t producer = 0; producer < producers; producer++)
                sending.push_back(spawn([&, producer] {
                    uint64_t first = n * producer / producers;
                    for (uint64_t i = first; i < first + share(n, producer, producers); i++) items.push(i);
                }));
            for (uint64_t consumer = 0; consumer < consumers; consumer++)
                adding.push_back(spawn([&, consumer] {
                    uint64_t number;
                    while (items.pop(number) == fib::channel_op_status::success) sums[consumer] += number;
                }));
            join_all(sending);
            items.close();
            join_all(adding);
        });
        check("the sum of what was received", std::accumulate(sums.begin(), sums.end(), uint64_t(0)), sum_below(n));
        return s;
    });
}

uint64_t skynet_node(uint64_t first, uint64_t size, bool wait) {
    if (wait) boost::this_fiber::yield();
    if (size == 1) return first;
    std::array<uint64_t, 10> sums{};
    std::vector<fib::fiber> branches;
    for (uint64_t i = 0; i < 10; i++)
        if (uint64_t part = share(size, i, 10))
            branches.push_back(spawn([&sums, i, part, wait, from = first + size * i / 10] { sums[i] = skynet_node(from, part, wait); }));
    join_all(branches);
    return std::accumulate(sums.begin(), sums.end(), uint64_t(0));
}

report skynet(const params& p) {
    workers w(p["threads"]);
    return measure(p, p["n"], [&](uint64_t n) {
               uint64_t sum = 0;
               sample s = timed([&] { sum = skynet_node(0, n, p["wait"]); });
               check("the sum of the leaves", sum, sum_below(n));
               return s;
           })
        .with_total();
}

uint64_t fib_of(uint64_t k, bool wait) {
    if (k < 2) return k;
    uint64_t first = 0;
    fib::fiber task = spawn([&first, k, wait] {
        if (wait) boost::this_fiber::yield();
        first = fib_of(k - 1, wait);
    });
    uint64_t second = fib_of(k - 2, wait);
    task.join();
    return first + second;
}

report fibonacci(const params& p) {
    workers w(p["threads"]);
    uint64_t k = p["k"], calls = std::max<uint64_t>(fib_by_sums(k + 1) - 1, 1);
    return measure(p, calls, [&](uint64_t n) {
               uint64_t of = n < calls && k > 5 ? k - 5 : k, found = 0;
               sample s = timed([&] { found = fib_of(of, p["wait"]); });
               check("the Fibonacci number", found, fib_by_sums(of));
               return s;
           })
        .with_total();
}

report idle_mem(const params& p) {
    workers w(p["threads"]);
    auto rss = [] { return double(kib("/proc/self/smaps_rollup", "Rss")) * 1024; };
    auto tables = [] { return double(kib("/proc/self/status", "VmPTE")) * 1024; };
    auto maps = [] {
        std::ifstream in("/proc/self/maps");
        return double(std::count(std::istreambuf_iterator<char>(in), {}, '\n'));
    };
    double rss_before = rss(), tables_before = tables();
    std::vector<double> all_rss, all_tables, all_maps, creates, releases;
    report r = measure(p, p["n"], [&](uint64_t n) {
        fib::mutex lock;
        fib::condition_variable event, all_wait;
        uint64_t waiting = 0;
        bool is_set = false;
        std::vector<fib::fiber> fibers;
        // A pool keeps memory that was used once; memory for one fiber at a time is what is measured.
        ctx::fixedsize_stack fresh(STACK);
        sample creation = timed([&] {
            for (uint64_t i = 0; i < n; i++)
                fibers.emplace_back(fib::launch::post, std::allocator_arg, fresh, [&] {
                    std::unique_lock<fib::mutex> held(lock);
                    if (++waiting == n) all_wait.notify_one();
                    event.wait(held, [&] { return is_set; });
                });
            std::unique_lock<fib::mutex> held(lock);
            all_wait.wait(held, [&] { return waiting == n; });
        });
        double now[] = {rss(), tables(), maps()};
        sample release = timed([&] {
            {
                std::unique_lock<fib::mutex> held(lock);
                is_set = true;
            }
            event.notify_all();
            join_all(fibers);
        });
        if (n == p["n"]) {
            all_rss.push_back(now[0]), all_tables.push_back(now[1]), all_maps.push_back(now[2]);
            creates.push_back(creation.wall), releases.push_back(release.wall);
        }
        return creation;
    });
    double n = double(p["n"]), per_task = (median(all_rss) - rss_before) / n, per_tables = (median(all_tables) - tables_before) / n;
    return r.with("rss_bytes_per_task", per_task)
        .with("pte_bytes_per_task", per_tables)
        .with("bytes_per_task", per_task + per_tables)
        .with("maps", median(all_maps))
        .with("create_s", median(creates))
        .with("release_s", median(releases));
}

report sleep_many(const params& p) {
    workers w(p["threads"]);
    std::vector<double> walls, cpus, p50, p99, most;
    report r = measure(p, p["n"], [&](uint64_t n) {
        std::vector<double> late(n, -1);
        sample s = timed([&] {
            std::vector<fib::fiber> fibers;
            for (uint64_t i = 0; i < n; i++)
                fibers.push_back(spawn([&, i] {
                    auto due = std::chrono::steady_clock::now() + nap(i);
                    boost::this_fiber::sleep_until(due);
                    late[i] = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - due).count();
                }));
            join_all(fibers);
        });
        std::sort(late.begin(), late.end());
        check("whether all slept until they were due", late[0] >= 0, true);
        if (n == p["n"]) {
            walls.push_back(s.wall), cpus.push_back(s.cpu);
            p50.push_back(late[(n - 1) / 2]), p99.push_back(late[(n - 1) * 99 / 100]), most.push_back(late[n - 1]);
        }
        return sample{s.cpu, s.cpu};
    });
    return r.with("wall_s", median(walls))
        .with("cpu_s", median(cpus))
        .with("late_p50_ms", median(p50))
        .with("late_p99_ms", median(p99))
        .with("late_max_ms", median(most));
}

report mutex(const params& p) {
    workers w(p["threads"]);
    return measure(p, p["n"], [&](uint64_t n) {
        uint64_t count = 0;
        sample s = timed([&] {
            fib::mutex lock;
            std::vector<fib::fiber> fibers;
            for (uint64_t task = 0; task < p["tasks"]; task++)
                fibers.push_back(spawn([&, times = share(n, task, p["tasks"])] {
                    for (uint64_t i = 0; i < times; i++) {
                        std::unique_lock<fib::mutex> held(lock);
                        count++;
                        if (p["yield_in"]) boost::this_fiber::yield();
                    }
                }));
            join_all(fibers);
        });
        check("the count", count, n);
        return s;
    });
}

report timeout_churn(const params& p) {
    if (p["wait"]) unsupported("this program's channel always has an item");
    return measure(p, p["n"], [&](uint64_t n) {
        uint64_t sum = 0;
        sample s = timed([&] {
            buffered channel(2);
            for (uint64_t i = 0; i < n; i++) {
                channel.push(i);
                uint64_t number = 0;
                channel.pop_wait_for(number, std::chrono::seconds(10));
                sum += number;
            }
        });
        check("sum", sum, sum_below(n));
        return s;
    });
}

report parallel_speedup(const params& p) {
    workers w(p["threads"]);
    uint64_t steps = p["iters"], expected = compute(42, steps);
    return measure(p, p["n"], [&](uint64_t n) {
               std::atomic<uint64_t> right{0};
               sample s = timed([&] {
                   std::vector<fib::fiber> fibers;
                   for (uint64_t i = 0; i < n; i++) fibers.push_back(spawn([&] { right += compute(42, steps) == expected; }));
                   join_all(fibers);
               });
               check("tasks that found the right number", right.load(), n);
               return s;
           })
        .with_total();
}

} // namespace

int main(int argc, char** argv) {
    return line::run(
        {
            {"switch", {N_10M}, switches},
            {"switch_many", {{"n", 2'000'000}, {"count", 10'000}}, switch_many},
            {"symmetric", {N_10M}, symmetric},
            {"gen_sum", {N_10M}, gen_sum},
            {"create", {N_1M, {"pool", 1}}, create},
            {"spawn_join", {N_1M, {"batch", 1000}, {"wait", 0}, THREADS}, spawn_join},
            {"yield_now", {{"n", 2'000'000}, {"tasks", 2}, THREADS}, yield_now},
            {"ping_pong", {N_1M, CHAN, PLACE, THREADS}, ping_pong},
            {"ring", {N_1M, {"tasks", 503}, PLACE, THREADS}, ring},
            {"mpmc", {{"n", 4'000'000}, {"cap", 128}, {"producers", 4}, {"consumers", 4}, THREADS}, mpmc},
            {"skynet", {N_1M, {"wait", 0}, THREADS}, skynet},
            {"fib", {{"k", 30}, {"wait", 0}, THREADS}, fibonacci},
            {"idle_mem", {{"n", 100'000}, THREADS}, idle_mem},
            {"sleep_many", {{"n", 100'000}, THREADS}, sleep_many},
            {"timeout_churn", {N_1M, {"wait", 0}, THREADS}, timeout_churn},
            {"mutex", {N_1M, {"tasks", 8}, {"yield_in", 0}, THREADS}, mutex},
            {"parallel_speedup", {{"n", 10'000}, {"iters", 30'000}, THREADS}, parallel_speedup},
        },
        argc, argv);
}
