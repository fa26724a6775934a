// Goroutines through those of the common lines that are about channels, and the tree.
//
//	go_lines LINE WORKERS     runs one line once and prints one JSON object
//	go_lines --list           prints the names of the lines
//
// The bodies are those of channels.hpp and switching.hpp, with Go's own means.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var lines = map[string]func() string{
	"skynet_join100k": func() string { return tree(sumOfTree, 100_000) },
	"skynet_join1m":   func() string { return tree(sumOfTree, 1_000_000) },
	"skynet_chan100k": func() string { return tree(sumByChannels, 100_000) },
	"skynet_chan1m":   func() string { return tree(sumByChannels, 1_000_000) },
	"mpmc":            func() string { return calibrated(4_000_000, 400, sharedQueue) },
	"chan_pp":         func() string { return calibrated(300_000, 10, pingPong) },
	"select8":         func() string { return calibrated(2_000_000, 8, selectOf(8)) },
	"select8_wait":    func() string { return calibrated(2_000_000, 8, selectOf(1)) },
}

func usage() syscall.Rusage {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return used
}

func cpuNs() int64 {
	used := usage()
	return used.Utime.Nano() + used.Stime.Nano()
}

func sharedQueue(items int) float64 {
	const each, stop = 4, ^uint64(0)
	queue := make(chan uint64, 128)
	var producers, consumers sync.WaitGroup
	producers.Add(each)
	consumers.Add(each)
	start := time.Now()
	for i := 0; i < each; i++ {
		go func() {
			sum := uint64(0)
			for item := <-queue; item != stop; item = <-queue {
				sum += item
			}
			consumers.Done()
		}()
	}
	for i := 0; i < each; i++ {
		go func() {
			for k := 1; k <= items/each; k++ {
				queue <- uint64(k)
			}
			producers.Done()
		}()
	}
	producers.Wait()
	for i := 0; i < each; i++ {
		queue <- stop
	}
	consumers.Wait()
	return nsEach(start, items)
}

// calibrated is measure_calibrated() of calibrate.hpp.
func calibrated(count, unit int, pass func(int) float64) string {
	const budgetNs = 0.35e9
	probe := max(unit, count/200/unit*unit)
	pass(probe)
	affordable := int(budgetNs / pass(probe))
	measured := min(count, max(probe, affordable)) / unit * unit
	cpu := cpuNs()
	each := pass(measured)
	return fmt.Sprintf(`"unit": "ns", "value": %.9g, "cpu_ns": %.9g, "operations": %d`,
		each, float64(cpuNs()-cpu)/float64(measured), measured)
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func max(a, b int) int { return -min(-a, -b) }

func nsEach(start time.Time, operations int) float64 {
	return float64(time.Since(start)) / float64(operations)
}

func tree(sumOf func(first, size uint64) uint64, leaves uint64) string {
	cpu, start := cpuNs(), time.Now()
	sum := sumOf(0, leaves)
	wall := time.Since(start)
	ok := 0
	if sum == leaves*(leaves-1)/2 {
		ok = 1
	}
	return fmt.Sprintf(`"unit": "ms", "value": %.9g, "cpu_ms": %.9g, "peak_rss_mb": %.9g, "ok": %d`,
		float64(wall)/1e6, float64(cpuNs()-cpu)/1e6, float64(usage().Maxrss)/1024, ok)
}

func sumOfTree(first, size uint64) uint64 {
	if size == 1 {
		return first
	}
	var sums [10]uint64
	var done sync.WaitGroup
	done.Add(len(sums))
	share := size / 10
	for i := range sums {
		i := i
		go func() {
			sums[i] = sumOfTree(first+uint64(i)*share, share)
			done.Done()
		}()
	}
	done.Wait()
	total := uint64(0)
	for _, sum := range sums {
		total += sum
	}
	return total
}

func sendSumOfTree(up chan<- uint64, first, size uint64) {
	if size == 1 {
		up <- first
		return
	}
	sums := make(chan uint64, 16)
	share := size / 10
	for i := uint64(0); i < 10; i++ {
		go sendSumOfTree(sums, first+i*share, share)
	}
	total := uint64(0)
	for i := 0; i < 10; i++ {
		total += <-sums
	}
	up <- total
}

func sumByChannels(first, size uint64) uint64 {
	sum := make(chan uint64, 16)
	go sendSumOfTree(sum, first, size)
	return <-sum
}

func pingPong(rounds int) float64 {
	there, back := make(chan uint64), make(chan uint64)
	var done sync.WaitGroup
	done.Add(2)
	start := time.Now()
	go func() {
		for i := 0; i < rounds; i++ {
			there <- uint64(i)
			<-back
		}
		done.Done()
	}()
	go func() {
		for i := 0; i < rounds; i++ {
			back <- <-there
		}
		done.Done()
	}()
	done.Wait()
	return nsEach(start, rounds)
}

func selectOf(senders int) func(int) float64 {
	return func(values int) float64 {
		var c [8]chan uint64
		for i := range c {
			c[i] = make(chan uint64)
		}
		var done sync.WaitGroup
		done.Add(senders + 1)
		start := time.Now()
		for s := 0; s < senders; s++ {
			s := s
			go func() {
				for i := 0; i < values/senders; i++ {
					if senders == 1 {
						c[i%8] <- 1
					} else {
						c[s] <- 1
					}
				}
				done.Done()
			}()
		}
		go func() {
			sum := uint64(0)
			for i := 0; i < values; i++ {
				sum += popAny(&c)
			}
			if sum != uint64(values) {
				panic("a value was lost")
			}
			done.Done()
		}()
		done.Wait()
		return nsEach(start, values)
	}
}

func popAny(c *[8]chan uint64) (value uint64) {
	select {
	case value = <-c[0]:
	case value = <-c[1]:
	case value = <-c[2]:
	case value = <-c[3]:
	case value = <-c[4]:
	case value = <-c[5]:
	case value = <-c[6]:
	case value = <-c[7]:
	}
	return value
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		names := []string{}
		for name := range lines {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Println(strings.Join(names, "\n"))
		return
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go_lines LINE WORKERS | --list")
		os.Exit(2)
	}
	workers, _ := strconv.Atoi(os.Args[2])
	runtime.GOMAXPROCS(workers)
	figures := `"na": 1`
	if line, found := lines[os.Args[1]]; found {
		figures = line()
	}
	fmt.Printf(`{"bench": %q, "peer": "go", "workers": %d, %s}`+"\n", os.Args[1], workers, figures)
}
