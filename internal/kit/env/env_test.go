package env_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := env.Real().Clock
		begun := clock.Now()
		if err := env.Sleep(context.Background(), clock, time.Minute); err != nil || clock.Now().Sub(begun) != time.Minute {
			t.Errorf("slept %v, %v", clock.Now().Sub(begun), err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		stop := clock.AfterFunc(time.Second, cancel)
		begun = clock.Now()
		if err := env.Sleep(ctx, clock, time.Minute); !errors.Is(err, context.Canceled) || clock.Now().Sub(begun) != time.Second {
			t.Errorf("slept %v, %v", clock.Now().Sub(begun), err)
		}
		if stop.C() != nil || stop.Stop() {
			t.Error("a timer with a function has a channel, or was stopped after it fired")
		}
		timer := clock.NewTimer(time.Hour)
		if !timer.Stop() || timer.Reset(time.Second) {
			t.Error("the timer was not running, or runs after it was stopped")
		}
		<-timer.C()
	})
}

func TestReal(t *testing.T) {
	e := env.Real()
	var a, b [32]byte
	e.Rand(a[:])
	e.Rand(b[:])
	if a == b {
		t.Error("the same bytes twice")
	}
	done := make(chan struct{})
	e.Go("test", func() { close(done) })
	<-done

	ln, err := e.Net.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	out, err := e.Net.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if in.RemoteAddr().String() != out.LocalAddr().String() {
		t.Errorf("%v dialled, %v arrived", out.LocalAddr(), in.RemoteAddr())
	}
}
