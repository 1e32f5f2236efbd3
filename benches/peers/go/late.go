// Who comes late, and the echo server: goroutines where time, threads and sockets come in.
package main

import (
	"fmt"
	"net"
	"runtime"
	"sort"
	"sync"
	"syscall"
	"time"
)

// The thread is a goroutine that keeps one to itself.
func wakeRemote(p params) *report {
	return measure(p, p.get("n"), func(n int) sample {
		there, back, woken := make(chan bool, 1), make(chan bool, 1), 0
		s := timed(func() {
			done := make(chan bool)
			go func() {
				runtime.LockOSThread()
				for i := 0; i < (n+1)/2; i++ {
					there <- true
					<-back
					woken += 2
				}
				close(there)
				done <- true
			}()
			for range there {
				back <- true
			}
			<-done
		})
		check("wake-ups", woken, (n+1)/2*2)
		return s
	})
}

// One goroutine computes; others sleep, and fresh ones are spawned meanwhile, all by a schedule that is made before: who comes
// late is late for each wake-up that was missed. The first sleeper spawns nobody; where goroutines run is Go's matter.
func stall(p params) *report {
	var sleepers, fresh []float64
	wakes, count, isWarm := p.get("ms"), p.get("threads"), false
	r := measure(p, 1, func(int) sample {
		late, spawned := make([]float64, wakes*count), make([]float64, wakes*count)
		s := timed(func() {
			start := time.Now().Add(10 * time.Millisecond)
			due := func(wake int) time.Time { return start.Add(time.Duration(wake) * time.Millisecond) }
			var all sync.WaitGroup
			all.Add(wakes*count + count + 1)
			spawn := func(index int, due time.Time) {
				go func() {
					spawned[index] = float64(time.Since(due).Nanoseconds()) / 1e3
					all.Done()
				}()
			}
			for sleeper := 0; sleeper < count; sleeper++ {
				go func(first int) {
					for wake := 0; wake < wakes; wake++ {
						time.Sleep(time.Until(due(wake)))
						late[first+wake] = float64(time.Since(due(wake)).Nanoseconds()) / 1e3
						if first > 0 {
							spawn(first+wake, due(wake))
						}
					}
					all.Done()
				}(sleeper * wakes)
			}
			go func() {
				x, next, end := uint64(1), 0, due(wakes)
				for time.Now().Before(end) {
					x = compute(x, 1000)
					for next < wakes && !time.Now().Before(due(next)) {
						spawn(next, due(next))
						next++
					}
				}
				for ; next < wakes; next++ {
					spawn(next, due(next))
				}
				sink = x
				all.Done()
			}()
			all.Wait()
		})
		// The first round is the warm-up.
		if isWarm {
			sleepers, fresh = append(sleepers, late...), append(fresh, spawned...)
		}
		isWarm = true
		return s
	})
	sort.Float64s(sleepers)
	sort.Float64s(fresh)
	add := func(name string, values []float64) {
		of := func(part float64) float64 { return values[int(float64(len(values)-1)*part)] }
		r.with(name+"_p50_us", of(0.5)).with(name+"_p99_us", of(0.99)).with(name+"_p999_us", of(0.999)).with(name+"_max_us", of(1))
	}
	add("sleep", sleepers)
	add("spawn", fresh)
	return r
}

// What was computed goes here, or it would not be.
var sink uint64

// Lets the calling thread's sleeps end when they are due. The kernel adds up to 50 µs otherwise, to wake threads together.
func wakeSharply() {
	const setTimerSlack = 29
	syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
}

// Holds the calling thread, as a plain thread's sleep does: not a timer of Go's.
func sleepThreadUntil(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		length := syscall.NsecToTimespec(left.Nanoseconds())
		// A signal may end it early.
		_ = syscall.Nanosleep(&length, nil)
	}
}

// Wake-ups at a fixed rate: how late each comes, counted from when it was due, also when the one before it was late.
func wakeLatency(p params) *report {
	var all []float64
	tasks, hz := p.get("tasks"), p.get("hz")
	r := measure(p, p.get("n"), func(n int) sample {
		late, over := make([]float64, n), make(chan bool)
		var loads, waking sync.WaitGroup
		loads.Add(p.get("load"))
		for i := 0; i < p.get("load"); i++ {
			go func() {
				defer loads.Done()
				x := uint64(1)
				for {
					select {
					case <-over:
						return
					default:
						x = compute(x, 30_000)
						runtime.Gosched()
					}
				}
			}()
		}
		cpu := cpuTime()
		start := time.Now().Add(10 * time.Millisecond)
		due := func(wake int) time.Time { return start.Add(time.Duration(wake * 1_000_000_000 / hz)) }
		waking.Add(tasks)
		if p.is("from", "thread") {
			inboxes := make([]chan int, tasks)
			for task := range inboxes {
				// As many as there are wake-ups: the thread never waits.
				inboxes[task] = make(chan int, n/tasks+1)
				go func(inbox chan int) {
					for wake := range inbox {
						late[wake] = float64(time.Since(due(wake)).Nanoseconds())
					}
					waking.Done()
				}(inboxes[task])
			}
			go func() {
				runtime.LockOSThread()
				wakeSharply()
				for wake := 0; wake < n; wake++ {
					sleepThreadUntil(due(wake))
					inboxes[wake%tasks] <- wake
				}
				for _, inbox := range inboxes {
					close(inbox)
				}
			}()
		} else {
			for task := 0; task < tasks; task++ {
				go func(task int) {
					for wake := task; wake < n; wake += tasks {
						time.Sleep(time.Until(due(wake)))
						late[wake] = float64(time.Since(due(wake)).Nanoseconds())
					}
					waking.Done()
				}(task)
			}
		}
		waking.Wait()
		close(over)
		loads.Wait()
		if n == p.get("n") {
			all = append(all, late...)
		}
		sort.Float64s(late)
		return sample{time.Duration(late[(n-1)/2]) * time.Duration(n), cpuTime() - cpu}
	})
	sort.Float64s(all)
	of := func(part float64) float64 { return all[int(float64(len(all)-1)*part)] / 1e3 }
	return r.with("p50_us", of(0.5)).with("p99_us", of(0.99)).with("p999_us", of(0.999)).with("max_us", of(1))
}

// A server, until it is killed. TCP_NODELAY is Go's default.
func echo(params) *report {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		wrong("no server: %v", err)
	}
	fmt.Printf("LISTEN %d\n", listener.Addr().(*net.TCPAddr).Port)
	for {
		stream, err := listener.Accept()
		if err != nil {
			wrong("no connection: %v", err)
		}
		go func() {
			defer stream.Close()
			buffer := make([]byte, 1024)
			for {
				size, err := stream.Read(buffer)
				if err != nil {
					return
				}
				if _, err := stream.Write(buffer[:size]); err != nil {
					return
				}
			}
		}()
	}
}
