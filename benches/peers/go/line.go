// The command line, the repetitions and the line of JSON that every measured system shares, in Go.
//
// examples/workloads/line/ is the original: the same keys and defaults, the same exit codes, the same way to count and time.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A failure ends the program with a code: 1 for a wrong result, 2 for a mistake in the command line, 3 for what Go has not.
type failure struct {
	code int
	text string
}

func wrong(format string, arguments ...any) {
	panic(failure{1, "FAIL " + fmt.Sprintf(format, arguments...)})
}

func mistake(format string, arguments ...any) {
	panic(failure{2, fmt.Sprintf(format, arguments...)})
}

func unsupported(why string) {
	panic(failure{3, "UNSUPPORTED " + why})
}

func check[T comparable](what string, found, expected T) {
	if found != expected {
		wrong("%s: expected %v, found %v", what, expected, found)
	}
}

// The value of each key: a number, or one of some words.
type params struct {
	numbers map[string]int
	words   map[string]string
}

// What a key takes: a number with this default, or one of these words, the first of which is the default.
type key struct {
	name   string
	number int
	words  []string
}

func number(name string, byDefault int) key    { return key{name: name, number: byDefault} }
func word(name string, words ...string) key    { return key{name: name, words: words} }
func (p params) get(name string) int           { return p.numbers[name] }
func (p params) isSet(name string) bool        { return p.numbers[name] != 0 }
func (p params) is(name string, w string) bool { return p.words[name] == w }

func parse(keys []key, arguments []string) params {
	p := params{map[string]int{}, map[string]string{}}
	keys = append(keys, number("reps", 5))
	for _, k := range keys {
		if k.words != nil {
			p.words[k.name] = k.words[0]
		} else {
			p.numbers[k.name] = k.number
		}
	}
next:
	for _, argument := range arguments {
		name, text, found := strings.Cut(argument, "=")
		if !found {
			mistake("expected key=value, found '%s'", argument)
		}
		for _, k := range keys {
			if k.name != name {
				continue
			}
			for _, w := range k.words {
				if w == text {
					p.words[name] = text
					continue next
				}
			}
			n, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
			if k.words != nil || err != nil || n < 0 {
				mistake("'%s': not what this key takes", argument)
			}
			p.numbers[name] = n
			continue next
		}
		mistake("unknown key '%s'", name)
	}
	return p
}

// What one repetition took.
type sample struct{ wall, cpu time.Duration }

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		wrong("%v", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func timed(work func()) sample {
	cpu, start := cpuTime(), time.Now()
	work()
	return sample{time.Since(start), cpuTime() - cpu}
}

// The repetitions of one workload.
type report struct {
	n       int
	samples []sample
	extra   []string
}

// Runs a tenth of the operations as a warm-up, then all of them as often as `reps` says.
func measure(p params, n int, run func(n int) sample) *report {
	warm := n / 10
	if warm == 0 {
		warm = 1
	}
	run(warm)
	r := &report{n: n}
	for i := 0; i < p.get("reps"); i++ {
		r.samples = append(r.samples, run(n))
	}
	return r
}

func (r *report) with(name string, value float64) *report {
	r.extra = append(r.extra, fmt.Sprintf("\"%s\":%.3f", name, value))
	return r
}

func (r *report) withTotal() *report {
	var walls []float64
	for _, s := range r.samples {
		walls = append(walls, s.wall.Seconds()*1e3)
	}
	return r.with("total_ms", median(walls))
}

func median(values []float64) float64 {
	sorted := append([]float64{}, values...)
	sort.Float64s(sorted)
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func (r *report) print(workload string, keys []key, p params) {
	var shown, all []string
	for _, k := range keys {
		if k.name == "n" {
			continue
		}
		if k.words != nil {
			shown = append(shown, fmt.Sprintf("\"%s\":\"%s\"", k.name, p.words[k.name]))
		} else {
			shown = append(shown, fmt.Sprintf("\"%s\":%d", k.name, p.numbers[k.name]))
		}
	}
	sort.Strings(shown)
	var ns []float64
	var wall, cpu time.Duration
	for _, s := range r.samples {
		each := float64(s.wall.Nanoseconds()) / float64(r.n)
		ns = append(ns, each)
		all = append(all, fmt.Sprintf("%.2f", each))
		wall, cpu = wall+s.wall, cpu+s.cpu
	}
	least, most := ns[0], ns[0]
	for _, each := range ns {
		if each < least {
			least = each
		}
		if each > most {
			most = each
		}
	}
	extra := append([]string{
		fmt.Sprintf("\"min_ns\":%.2f,\"max_ns\":%.2f", least, most),
		fmt.Sprintf("\"all_ns\":[%s]", strings.Join(all, ",")),
		fmt.Sprintf("\"cpu_per_wall\":%.3f", float64(cpu)/float64(wall)),
	}, r.extra...)
	middle := median(ns)
	fmt.Printf("{\"peer\":\"go\",\"workload\":\"%s\",\"params\":{%s},\"n\":%d,\"ns_per_op\":%.2f,\"ops_per_s\":%.1f,\"rss_kib\":%d,\"extra\":{%s}}\n",
		workload, strings.Join(shown, ","), r.n, middle, 1e9/middle, statusKib("/proc/self/status", "VmHWM"), strings.Join(extra, ","))
}

// The line `name: 123 kB` of a file that the kernel made.
func statusKib(file, name string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		unsupported("memory is only measured on Linux")
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest := strings.TrimPrefix(line, name+":"); rest != line {
			n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			return n
		}
	}
	return 0
}

func main() {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if f, ok := r.(failure); ok {
			fmt.Fprintln(os.Stderr, f.text)
			os.Exit(f.code)
		}
		// Not one of ours: it ends the program as panics do.
		panic(r)
	}()
	if len(os.Args) < 2 {
		mistake("usage: go WORKLOAD [key=value ...]")
	}
	name := os.Args[1]
	for _, w := range workloads {
		if w.name != name {
			continue
		}
		p := parse(w.keys, os.Args[2:])
		if threads, has := p.numbers["threads"]; has {
			runtime.GOMAXPROCS(threads)
		} else {
			runtime.GOMAXPROCS(1)
		}
		w.run(p).print(name, w.keys, p)
		return
	}
	if name == "symmetric" || name == "idle_cpu" {
		unsupported("go has nothing to do '" + name + "' with")
	}
	mistake("unknown workload '%s'", name)
}
