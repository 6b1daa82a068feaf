package embedded

import (
	"bufio"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkStreams are streams of 200 tokens, each written by itself, through a
// proxy that reads them along and one that does not, in turns, so that a busy
// machine slows both. It prints how many streams the one passes on for each of the
// other, by the clock and by the CPU time of client, proxy and server together.
func BenchmarkStreams(b *testing.B) {
	const batch = 10
	back := streamer(b, 200, func() {})
	kinds := []string{"off", "on", "usage"}
	var talks [3]func()
	for i, name := range kinds {
		url, _ := serveModel(b, readings[name], nil, back)
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		r := bufio.NewReader(c)
		talks[i] = func() { talk(b, c, r) }
		talks[i]()
	}
	var took, used [3]time.Duration
	for b.Loop() {
		for i, talk := range talks {
			begin, before := time.Now(), ownTime(b)
			for range batch {
				talk()
			}
			took[i] += time.Since(begin)
			used[i] += ownTime(b) - before
		}
	}
	for i, name := range kinds[1:] {
		b.ReportMetric(took[0].Seconds()/took[i+1].Seconds(), "x-clock-"+name)
		b.ReportMetric(used[0].Seconds()/used[i+1].Seconds(), "x-cpu-"+name)
	}
	b.ReportMetric(float64(used[0].Microseconds())/float64(b.N)/batch, "µs-cpu/stream-off")
}

// ownTime is the CPU time that this process has used.
func ownTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
