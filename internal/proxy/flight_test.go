package proxy

import (
	"sync"
	"testing"
	"time"
)

func TestSettledIsTheOldestUnderWay(t *testing.T) {
	p := New(Options{})
	var a, b, c flight
	p.flights.start(&a)
	p.flights.start(&b)
	p.flights.start(&c)
	if got := p.Settled(time.Minute); !got.Equal(a.begin) {
		t.Errorf("settled %v, expected the first request's begin %v", got, a.begin)
	}
	b.end()
	a.end()
	if got := p.Settled(time.Minute); !got.Equal(c.begin) {
		t.Errorf("settled %v, expected the last request's begin %v", got, c.begin)
	}
	if got := p.Settled(0); !got.After(c.begin) {
		t.Errorf("settled %v: a request that is out of patience must not hold it back", got)
	}
	c.end()
	c.end() // twice is once
	before := time.Now()
	if got := p.Settled(time.Minute); got.Before(before) {
		t.Errorf("settled %v with nothing under way, expected now", got)
	}
}

func TestFlightsStartAndEndAtOnce(t *testing.T) {
	p := New(Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				var x flight
				p.flights.start(&x)
				if p.Settled(time.Minute).After(x.begin) {
					t.Error("settled is after the begin of a request under way")
				}
				x.end()
			}
		})
	}
	wg.Wait()
	for i := range p.flights.shards {
		if s := &p.flights.shards[i]; s.head != nil || s.tail != nil {
			t.Errorf("shard %d still has requests", i)
		}
	}
}
