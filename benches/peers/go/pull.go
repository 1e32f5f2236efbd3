//go:build go1.23

// Go has coroutines since 1.23: `iter.Pull` switches to a goroutine and back without the scheduler.
package main

import "iter"

// What resumes `body` until it yields, and what ends it.
func pull(body func(yield func(int) bool)) (next func() (int, bool), stop func()) {
	return iter.Pull(iter.Seq[int](body))
}

func sumOfItems(n int) int {
	next, stop := pull(func(yield func(int) bool) {
		for i := 0; i < n && yield(i); i++ {
		}
	})
	defer stop()
	sum := 0
	for item, is := next(); is; item, is = next() {
		sum += item
	}
	return sum
}

// Makes coroutines that do nothing but count, one after the other.
func createAll(n int, ran *int) {
	for i := 0; i < n; i++ {
		next, stop := pull(func(func(int) bool) { *ran++ })
		next()
		stop()
	}
}
