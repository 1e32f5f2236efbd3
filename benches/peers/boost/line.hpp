// The command line, the repetitions and the line of JSON that every measured system shares, in C++.
//
// examples/workloads/line/ is the original: the same keys and defaults, the same exit codes, the same way to count and time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <sys/resource.h>

namespace line {

// Ends the program with a code: 1 for a wrong result, 2 for a mistake in the command line, 3 for what Boost has not.
struct failure {
    int code;
    std::string text;
};

[[noreturn]] inline void unsupported(const std::string& why) { throw failure{3, "UNSUPPORTED " + why}; }
[[noreturn]] inline void mistake(const std::string& what) { throw failure{2, what}; }

template <typename T> void check(const char* what, T found, T expected) {
    if (found != expected)
        throw failure{1, std::string("FAIL ") + what + ": expected " + std::to_string(expected) + ", found " + std::to_string(found)};
}

// A key: a number with a default, or one of some words, the first of which is the default.
struct key {
    std::string name;
    std::uint64_t number = 0;
    std::vector<std::string> words = {};
};

struct params {
    std::map<std::string, std::uint64_t> numbers;
    std::map<std::string, std::string> words;
    std::uint64_t operator[](const std::string& name) const { return numbers.at(name); }
    const std::string& word(const std::string& name) const { return words.at(name); }
};

inline params parse(const std::vector<key>& keys, int argc, char** argv) {
    params p;
    for (auto& k : keys) {
        if (k.words.empty()) p.numbers[k.name] = k.number;
        else p.words[k.name] = k.words[0];
    }
    for (int i = 2; i < argc; i++) {
        std::string argument = argv[i];
        auto split = argument.find('=');
        if (split == std::string::npos) mistake("expected key=value, found '" + argument + "'");
        std::string name = argument.substr(0, split), text = argument.substr(split + 1);
        auto k = std::find_if(keys.begin(), keys.end(), [&](auto& k) { return k.name == name; });
        if (k == keys.end()) mistake("unknown key '" + name + "'");
        if (!k->words.empty()) {
            if (std::find(k->words.begin(), k->words.end(), text) == k->words.end()) mistake("'" + argument + "': not what this key takes");
            p.words[name] = text;
            continue;
        }
        text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
        if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) mistake("'" + argument + "': expected a whole number");
        p.numbers[name] = std::stoull(text);
    }
    return p;
}

// What one repetition took, in seconds.
struct sample {
    double wall, cpu;
};

inline double cpu_time() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    auto seconds = [](timeval t) { return double(t.tv_sec) + double(t.tv_usec) * 1e-6; };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <typename F> sample timed(F&& work) {
    double cpu = cpu_time();
    auto start = std::chrono::steady_clock::now();
    work();
    std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    return {wall.count(), cpu_time() - cpu};
}

inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    auto middle = values.size() / 2;
    return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// The line `name: 123 kB` of a file that the kernel made.
inline std::uint64_t kib(const char* file, const std::string& name) {
    std::ifstream in(file);
    for (std::string text; std::getline(in, text);)
        if (text.rfind(name + ":", 0) == 0) return std::stoull(text.substr(name.size() + 1));
    return 0;
}

// The repetitions of one workload.
struct report {
    std::uint64_t n;
    std::vector<sample> samples;
    std::vector<std::pair<std::string, double>> extra;

    report& with(const char* name, double value) {
        extra.emplace_back(name, value);
        return *this;
    }

    report& with_total() {
        std::vector<double> walls;
        for (auto& s : samples) walls.push_back(s.wall * 1e3);
        return with("total_ms", median(walls));
    }

    void print(const std::string& workload, const std::vector<key>& keys, const params& p) const {
        std::string shown, all;
        std::vector<double> ns;
        double wall = 0, cpu = 0;
        for (auto& k : keys) {
            if (k.name == "n" || k.name == "reps") continue;
            if (!shown.empty()) shown += ",";
            shown += "\"" + k.name + "\":" + (k.words.empty() ? std::to_string(p[k.name]) : "\"" + p.word(k.name) + "\"");
        }
        for (auto& s : samples) {
            ns.push_back(s.wall * 1e9 / double(n));
            char text[64];
            std::snprintf(text, sizeof text, "%s%.2f", all.empty() ? "" : ",", ns.back());
            all += text;
            wall += s.wall, cpu += s.cpu;
        }
        double middle = median(ns), least = *std::min_element(ns.begin(), ns.end()), most = *std::max_element(ns.begin(), ns.end());
        std::printf("{\"peer\":\"boost\",\"workload\":\"%s\",\"params\":{%s},\"n\":%llu,\"ns_per_op\":%.2f,\"ops_per_s\":%.1f,\"rss_kib\":%llu,"
                    "\"extra\":{\"min_ns\":%.2f,\"max_ns\":%.2f,\"all_ns\":[%s],\"cpu_per_wall\":%.3f",
                    workload.c_str(), shown.c_str(), (unsigned long long)n, middle, 1e9 / middle,
                    (unsigned long long)kib("/proc/self/status", "VmHWM"), least, most, all.c_str(), cpu / wall);
        for (auto& [name, value] : extra) std::printf(",\"%s\":%.3f", name.c_str(), value);
        std::puts("}}");
    }
};

// Runs a tenth of the operations as a warm-up, then all of them as often as `reps` says.
inline report measure(const params& p, std::uint64_t n, const std::function<sample(std::uint64_t)>& run) {
    run(std::max<std::uint64_t>(n / 10, 1));
    report r{n, {}, {}};
    for (std::uint64_t i = 0; i < p["reps"]; i++) r.samples.push_back(run(n));
    return r;
}

struct workload {
    std::string name;
    std::vector<key> keys;
    report (*run)(const params&);
};

inline int run(const std::vector<workload>& workloads, int argc, char** argv) {
    try {
        if (argc < 2) mistake("usage: boost WORKLOAD [key=value ...]");
        std::string name = argv[1];
        for (auto& w : workloads) {
            if (w.name != name) continue;
            auto keys = w.keys;
            keys.push_back({"reps", 5});
            params p = parse(keys, argc, argv);
            w.run(p).print(name, w.keys, p);
            return 0;
        }
        unsupported("this program has nothing to do '" + name + "' with");
    } catch (const failure& f) {
        std::fprintf(stderr, "%s\n", f.text.c_str());
        return f.code;
    }
}

// How many of n operations one of some parts does.
inline std::uint64_t share(std::uint64_t n, std::uint64_t part, std::uint64_t parts) { return n * (part + 1) / parts - n * part / parts; }

inline std::uint64_t sum_below(std::uint64_t n) { return n * (n - 1) / 2; }

inline std::uint64_t compute(std::uint64_t x, std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps; i++) x = (x ^ (x >> 29)) * 0x9E3779B97F4A7C15;
    return x;
}

inline std::uint64_t fib_by_sums(std::uint64_t k) {
    std::uint64_t a = 0, b = 1;
    while (k-- > 0) b += a, a = b - a;
    return a;
}

// For how long the task with this number sleeps.
inline std::chrono::nanoseconds nap(std::uint64_t number) { return std::chrono::nanoseconds(number * 0x9e3779b97f4a7c15 % 1'000'000'000); }

} // namespace line
