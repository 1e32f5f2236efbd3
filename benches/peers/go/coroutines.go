// Coroutines that are resumed by hand. How, depends on the version: see pull.go and channels.go.
package main

// A coroutine that says how often it was resumed.
func counting() (next func() (int, bool), stop func()) {
	return pull(func(yield func(int) bool) {
		for count := 1; yield(count); count++ {
		}
	})
}

func switches(p params) *report {
	next, stop := counting()
	defer stop()
	resumed := 0
	return measure(p, p.get("n"), func(n int) sample {
		last := 0
		s := timed(func() {
			for i := 0; i < n; i++ {
				last, _ = next()
			}
		})
		resumed += n
		check("round trips", last, resumed)
		return s
	})
}

func switchMany(p params) *report {
	count := p.get("count")
	all, stops := make([]func() (int, bool), count), make([]func(), count)
	for i := range all {
		all[i], stops[i] = counting()
	}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	before := make([]int, count)
	return measure(p, p.get("n"), func(n int) sample {
		sum, expected := 0, 0
		s := timed(func() {
			for i, turn := 0, 0; i < n; i++ {
				said, _ := all[turn]()
				sum += said
				if turn++; turn == count {
					turn = 0
				}
			}
		})
		// Each counts on from where it was.
		for turn := range all {
			times := (n + count - 1 - turn) / count
			expected += times*before[turn] + times*(times+1)/2
			before[turn] += times
		}
		check("the sum of all counts", sum, expected)
		return s
	})
}

func genSum(p params) *report {
	return measure(p, p.get("n"), func(n int) sample {
		sum := 0
		s := timed(func() { sum = sumOfItems(n) })
		check("sum", sum, sumBelow(n))
		return s
	})
}

func create(p params) *report {
	if !p.isSet("pool") {
		unsupported("go keeps the stacks of goroutines that have ended")
	}
	return measure(p, p.get("n"), func(n int) sample {
		ran := 0
		s := timed(func() { createAll(n, &ran) })
		check("coroutines that ran", ran, n)
		return s
	})
}
