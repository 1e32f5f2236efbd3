//go:build !go1.23

// Before Go 1.23 a coroutine is a goroutine with two channels, a generator one with a single channel.
package main

// What resumes `body` until it yields, and what ends it. Not to be resumed when it has ended.
func pull(body func(yield func(int) bool)) (next func() (int, bool), stop func()) {
	resume, items := make(chan bool), make(chan int)
	go func() {
		defer close(items)
		if <-resume {
			body(func(item int) bool {
				items <- item
				return <-resume
			})
		}
	}()
	next = func() (int, bool) {
		resume <- true
		item, is := <-items
		return item, is
	}
	stop = func() {
		resume <- false
		<-items
	}
	return next, stop
}

func sumOfItems(n int) int {
	items, sum := make(chan int), 0
	go func() {
		for i := 0; i < n; i++ {
			items <- i
		}
		close(items)
	}()
	for item := range items {
		sum += item
	}
	return sum
}

// Makes coroutines that do nothing but count, one after the other.
func createAll(n int, ran *int) {
	done := make(chan bool)
	for i := 0; i < n; i++ {
		go func() {
			*ran++
			done <- true
		}()
		<-done
	}
}
