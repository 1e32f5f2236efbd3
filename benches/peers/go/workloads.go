// What goroutines and channels make of the workloads.
//
// A goroutine cannot be joined: the programs take a sync.WaitGroup where only the end counts, and a channel with room for one
// value where a result is wanted, as Go programs do.
package main

import (
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"
)

type workload struct {
	name string
	keys []key
	run  func(params) *report
}

var threads = number("threads", 1)
var place = word("place", "auto", "same", "apart")

var workloads = []workload{
	{"switch", []key{number("n", 10_000_000)}, switches},
	{"switch_many", []key{number("n", 2_000_000), number("count", 10_000)}, switchMany},
	{"gen_sum", []key{number("n", 10_000_000)}, genSum},
	{"create", []key{number("n", 1_000_000), number("pool", 1)}, create},
	{"spawn_join", []key{number("n", 1_000_000), number("batch", 1000), number("wait", 0), threads}, spawnJoin},
	{"yield_now", []key{number("n", 2_000_000), number("tasks", 2), threads}, yieldNow},
	{"ping_pong", []key{number("n", 1_000_000), word("chan", "bounded1", "unbounded", "rendezvous"), place, threads}, pingPong},
	{"ring", []key{number("n", 1_000_000), number("tasks", 503), place, threads}, ring},
	{"mpmc", []key{number("n", 4_000_000), number("cap", 128), number("producers", 4), number("consumers", 4), threads}, mpmc},
	{"select", []key{number("n", 1_000_000), number("chans", 4), threads}, selects},
	{"skynet", []key{number("n", 1_000_000), number("wait", 0), threads}, skynet},
	{"fib", []key{number("k", 30), number("wait", 0), threads}, fib},
	{"idle_mem", []key{number("n", 100_000), threads}, idleMem},
	{"sleep_many", []key{number("n", 100_000), threads}, sleepMany},
	{"timeout_churn", []key{number("n", 1_000_000), number("wait", 0), threads}, timeoutChurn},
	{"mutex", []key{number("n", 1_000_000), number("tasks", 8), number("yield_in", 0), threads}, mutex},
	{"parallel_speedup", []key{number("n", 10_000), number("iters", 30_000), threads}, parallelSpeedup},
	{"wake_remote", []key{number("n", 200_000), number("threads", 2)}, wakeRemote},
	{"wake_latency", []key{number("n", 20_000), number("hz", 5_000), number("tasks", 16), number("load", 0), word("from", "timer", "thread"), number("threads", 2)}, wakeLatency},
	{"stall", []key{number("ms", 300), number("threads", 2)}, stall},
	{"echo", []key{threads}, echo},
}

// How many of n operations one of some parts does.
func share(n, part, parts int) int { return n*(part+1)/parts - n*part/parts }

func sumBelow(n int) int { return n * (n - 1) / 2 }

func compute(x uint64, steps int) uint64 {
	for i := 0; i < steps; i++ {
		x = (x ^ (x >> 29)) * 0x9E3779B97F4A7C15
	}
	return x
}

func fibBySums(k int) int {
	a, b := 0, 1
	for i := 0; i < k; i++ {
		a, b = b, a+b
	}
	return a
}

// For how long the task with this number sleeps.
func nap(number int) time.Duration {
	return time.Duration(uint64(number) * 0x9e3779b97f4a7c15 % 1_000_000_000)
}

func spawnJoin(p params) *report {
	batch, wait := p.get("batch"), p.isSet("wait")
	return measure(p, p.get("n"), func(n int) sample {
		joined := 0
		s := timed(func() {
			var all sync.WaitGroup
			for joined < n {
				size := batch
				if n-joined < size {
					size = n - joined
				}
				all.Add(size)
				for i := 0; i < size; i++ {
					go func() {
						if wait {
							runtime.Gosched()
						}
						all.Done()
					}()
				}
				all.Wait()
				joined += size
			}
		})
		check("tasks joined", joined, n)
		return s
	})
}

func yieldNow(p params) *report {
	tasks := p.get("tasks")
	return measure(p, p.get("n"), func(n int) sample {
		yields := make([]int, tasks)
		s := timed(func() {
			var all sync.WaitGroup
			all.Add(tasks)
			for task := 0; task < tasks; task++ {
				times := share(n, task, tasks)
				go func(task int) {
					i := 0
					for ; i < times; i++ {
						runtime.Gosched()
					}
					yields[task] = i
					all.Done()
				}(task)
			}
			all.Wait()
		})
		sum := 0
		for _, each := range yields {
			sum += each
		}
		check("yields", sum, n)
		return s
	})
}

// Passes a counter on until it is `last`; says the highest number that it had.
func passOn(inbox <-chan int, next chan<- int, last int, ended chan<- int) {
	highest := 0
	for counter := range inbox {
		highest = counter
		if counter == last {
			break
		}
		next <- counter + 1
	}
	ended <- highest
}

func ringOf(n, tasks, room int) sample {
	highest := 0
	s := timed(func() {
		ended := make(chan int, tasks)
		inboxes := make([]chan int, tasks)
		for i := range inboxes {
			inboxes[i] = make(chan int, room)
		}
		for i := range inboxes {
			go passOn(inboxes[i], inboxes[(i+1)%tasks], n, ended)
		}
		inboxes[0] <- 1
		// The one that had the last number ends; the others are told to.
		highest = <-ended
		for _, inbox := range inboxes {
			close(inbox)
		}
		for i := 1; i < tasks; i++ {
			<-ended
		}
	})
	check("the highest number", highest, n)
	return s
}

func checkPlace(p params) {
	if !p.is("place", "auto") {
		unsupported("go places goroutines itself")
	}
}

func pingPong(p params) *report {
	checkPlace(p)
	room := 1
	if p.is("chan", "unbounded") {
		unsupported("go has no channels without a bound")
	}
	if p.is("chan", "rendezvous") {
		room = 0
	}
	return measure(p, p.get("n"), func(n int) sample { return ringOf(n, 2, room) })
}

func ring(p params) *report {
	checkPlace(p)
	return measure(p, p.get("n"), func(n int) sample { return ringOf(n, p.get("tasks"), 1) })
}

func mpmc(p params) *report {
	producers, consumers := p.get("producers"), p.get("consumers")
	return measure(p, p.get("n"), func(n int) sample {
		sum := 0
		s := timed(func() {
			items, sums := make(chan int, p.get("cap")), make(chan int)
			var sending sync.WaitGroup
			sending.Add(producers)
			for producer := 0; producer < producers; producer++ {
				first, times := n*producer/producers, share(n, producer, producers)
				go func() {
					for number := first; number < first+times; number++ {
						items <- number
					}
					sending.Done()
				}()
			}
			for consumer := 0; consumer < consumers; consumer++ {
				go func() {
					sum := 0
					for number := range items {
						sum += number
					}
					sums <- sum
				}()
			}
			sending.Wait()
			close(items)
			for consumer := 0; consumer < consumers; consumer++ {
				sum += <-sums
			}
		})
		check("the sum of what was received", sum, sumBelow(n))
		return s
	})
}

func selects(p params) *report {
	if p.get("chans") != 4 {
		unsupported("this program's select has four cases")
	}
	return measure(p, p.get("n"), func(n int) sample {
		sum := 0
		s := timed(func() {
			var inboxes [4]chan int
			for feeder := range inboxes {
				inboxes[feeder] = make(chan int, 128)
				first, times, inbox := n*feeder/4, share(n, feeder, 4), inboxes[feeder]
				go func() {
					for number := first; number < first+times; number++ {
						inbox <- number
					}
				}()
			}
			for received := 0; received < n; received++ {
				select {
				case number := <-inboxes[0]:
					sum += number
				case number := <-inboxes[1]:
					sum += number
				case number := <-inboxes[2]:
					sum += number
				case number := <-inboxes[3]:
					sum += number
				}
			}
		})
		check("the sum of what was received", sum, sumBelow(n))
		return s
	})
}

func skynetNode(result chan<- int, first, size int, wait bool) {
	if wait {
		runtime.Gosched()
	}
	if size == 1 {
		result <- first
		return
	}
	results, branches := make(chan int, 10), 0
	for i := 0; i < 10; i++ {
		if part := share(size, i, 10); part > 0 {
			branches++
			go skynetNode(results, first+size*i/10, part, wait)
		}
	}
	sum := 0
	for i := 0; i < branches; i++ {
		sum += <-results
	}
	result <- sum
}

func skynet(p params) *report {
	return measure(p, p.get("n"), func(n int) sample {
		sum := 0
		s := timed(func() {
			result := make(chan int)
			go skynetNode(result, 0, n, p.isSet("wait"))
			sum = <-result
		})
		check("the sum of the leaves", sum, sumBelow(n))
		return s
	}).withTotal()
}

func fibOf(k int, wait bool) int {
	if k < 2 {
		return k
	}
	first := make(chan int, 1)
	go func() {
		if wait {
			runtime.Gosched()
		}
		first <- fibOf(k-1, wait)
	}()
	second := fibOf(k-2, wait)
	return <-first + second
}

func fib(p params) *report {
	k := p.get("k")
	calls := fibBySums(k+1) - 1
	if calls < 1 {
		calls = 1
	}
	return measure(p, calls, func(n int) sample {
		of, found := k, 0
		if n < calls && k > 5 {
			of = k - 5
		}
		s := timed(func() { found = fibOf(of, p.isSet("wait")) })
		check("the Fibonacci number", found, fibBySums(of))
		return s
	}).withTotal()
}

func memory() (rss, tables, maps float64) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		unsupported("memory is only measured on Linux")
	}
	rss = float64(statusKib("/proc/self/smaps_rollup", "Rss")) * 1024
	tables = float64(statusKib("/proc/self/status", "VmPTE")) * 1024
	return rss, tables, float64(strings.Count(string(text), "\n"))
}

func idleMem(p params) *report {
	rssBefore, tablesBefore, _ := memory()
	var rss, tables, maps, creates, releases []float64
	r := measure(p, p.get("n"), func(n int) sample {
		event := make(chan struct{})
		var waiting, ending sync.WaitGroup
		waiting.Add(n)
		ending.Add(n)
		creation := timed(func() {
			for i := 0; i < n; i++ {
				go func() {
					waiting.Done()
					<-event
					ending.Done()
				}()
			}
			waiting.Wait()
		})
		a, b, c := memory()
		release := timed(func() {
			close(event)
			ending.Wait()
		})
		if n == p.get("n") {
			rss, tables, maps = append(rss, a), append(tables, b), append(maps, c)
			creates = append(creates, creation.wall.Seconds())
			releases = append(releases, release.wall.Seconds())
		}
		return creation
	})
	n := float64(p.get("n"))
	perTask, perTables := (median(rss)-rssBefore)/n, (median(tables)-tablesBefore)/n
	return r.with("rss_bytes_per_task", perTask).with("pte_bytes_per_task", perTables).with("bytes_per_task", perTask+perTables).
		with("maps", median(maps)).with("create_s", median(creates)).with("release_s", median(releases))
}

func sleepMany(p params) *report {
	var walls, cpus, p50, p99, most []float64
	r := measure(p, p.get("n"), func(n int) sample {
		late := make([]float64, n)
		s := timed(func() {
			var all sync.WaitGroup
			all.Add(n)
			for i := 0; i < n; i++ {
				go func(i int) {
					due := time.Now().Add(nap(i))
					time.Sleep(nap(i))
					late[i] = time.Since(due).Seconds() * 1e3
					all.Done()
				}(i)
			}
			all.Wait()
		})
		sort.Float64s(late)
		if n == p.get("n") {
			walls, cpus = append(walls, s.wall.Seconds()), append(cpus, s.cpu.Seconds())
			p50, p99, most = append(p50, late[(n-1)/2]), append(p99, late[(n-1)*99/100]), append(most, late[n-1])
		}
		return sample{s.cpu, s.cpu}
	})
	return r.with("wall_s", median(walls)).with("cpu_s", median(cpus)).
		with("late_p50_ms", median(p50)).with("late_p99_ms", median(p99)).with("late_max_ms", median(most))
}

// A timeout around a receive, as Go programs write it: a timer that is stopped.
func timeoutChurn(p params) *report {
	return measure(p, p.get("n"), func(n int) sample {
		wait, channel, sum := p.isSet("wait"), make(chan int, 1), 0
		if wait {
			go func() {
				for i := 0; i < n; i++ {
					channel <- i
				}
			}()
		}
		s := timed(func() {
			for i := 0; i < n; i++ {
				if !wait {
					channel <- i
				}
				timer := time.NewTimer(10 * time.Second)
				select {
				case value := <-channel:
					sum += value
				case <-timer.C:
				}
				timer.Stop()
			}
		})
		check("sum", sum, sumBelow(n))
		return s
	})
}

func mutex(p params) *report {
	tasks, yieldIn := p.get("tasks"), p.isSet("yield_in")
	return measure(p, p.get("n"), func(n int) sample {
		count := 0
		s := timed(func() {
			var lock sync.Mutex
			var all sync.WaitGroup
			all.Add(tasks)
			for task := 0; task < tasks; task++ {
				times := share(n, task, tasks)
				go func() {
					for i := 0; i < times; i++ {
						lock.Lock()
						count++
						if yieldIn {
							runtime.Gosched()
						}
						lock.Unlock()
					}
					all.Done()
				}()
			}
			all.Wait()
		})
		check("the count", count, n)
		return s
	})
}

func parallelSpeedup(p params) *report {
	steps := p.get("iters")
	expected := compute(42, steps)
	return measure(p, p.get("n"), func(n int) sample {
		right := make([]bool, n)
		s := timed(func() {
			var all sync.WaitGroup
			all.Add(n)
			for i := 0; i < n; i++ {
				go func(i int) {
					right[i] = compute(42, steps) == expected
					all.Done()
				}(i)
			}
			all.Wait()
		})
		for _, is := range right {
			check("a task found the right number", is, true)
		}
		return s
	}).withTotal()
}
