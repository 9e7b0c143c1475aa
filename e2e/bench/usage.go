package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what processes have used since they started.
type usage struct {
	cpu     time.Duration
	written int64 // bytes sent to the disk
}

// clockTick is the unit of the times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

func usageOf(pids []int) (usage, error) {
	var total usage
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return total, err
		}
		// The second field is the program's name in brackets, and may hold spaces: count from behind it.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, i := range []int{11, 12} { // utime, stime
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return total, err
			}
			total.cpu += time.Duration(n) * clockTick
		}
		io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if err != nil {
			return total, err
		}
		for line := range strings.Lines(string(io)) {
			if text, ok := strings.CutPrefix(line, "write_bytes: "); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
				if err != nil {
					return total, err
				}
				total.written += n
			}
		}
	}
	return total, nil
}

func memoryMiB(pids []int) ([]int, error) {
	var all []int
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(status)) {
			if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				n, err := strconv.Atoi(strings.Fields(text)[0])
				if err != nil {
					return nil, err
				}
				all = append(all, n>>10)
			}
		}
	}
	return all, nil
}

// pssMiB is what the processes take together, pages that they share counted once.
func pssMiB(pids []int) (int, error) {
	kib := 0
	for _, pid := range pids {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(rollup)) {
			if text, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, err := strconv.Atoi(strings.Fields(text)[0])
				if err != nil {
					return 0, err
				}
				kib += n
			}
		}
	}
	return kib >> 10, nil
}
