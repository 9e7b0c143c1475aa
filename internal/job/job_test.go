package job_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"henge/internal/job"
)

func TestThrottle_Rate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := job.NewThrottle(1000)
		began := time.Now()
		for range 11 {
			if err := th.Wait(t.Context(), 500); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Fatalf("11 times 500 bytes at 1000 a second took %v, want 5s (the last is paid for later)", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := th.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("wait: %v", err)
		}
	})
}

func TestThrottle_NoBound(t *testing.T) {
	th := job.NewThrottle(0)
	for range 100 {
		if err := th.Wait(t.Context(), 1<<40); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake := make(chan struct{}, 1)
		var sweeps atomic.Int64
		done := make(chan struct{})
		go func() {
			job.Loop(ctx, time.Hour, wake, func(context.Context) { sweeps.Add(1) })
			close(done)
		}()
		wake <- struct{}{}
		synctest.Wait()
		if sweeps.Load() != 1 {
			t.Fatalf("%d sweeps after a wake", sweeps.Load())
		}
		time.Sleep(3*time.Hour + time.Minute) // the bubble's time: it takes none
		synctest.Wait()
		if sweeps.Load() != 4 {
			t.Fatalf("%d sweeps after three hours", sweeps.Load())
		}
		cancel()
		<-done
	})
}
