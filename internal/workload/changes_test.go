package workload_test

import (
	"testing"
	"testing/synctest"

	"github.com/haldane-project/haldane/internal/workload"
)

func TestChangesMergeNamesAndLoseNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := workload.NewChanges()
		c.Mark("a")
		synctest.Wait() // a waits for a reader now
		c.Mark("a")     // changed again: must be told again
		c.Mark("b")
		c.Mark("b") // merged
		var got []string
		for range 3 {
			got = append(got, <-c.C())
		}
		synctest.Wait()
		select {
		case name := <-c.C():
			t.Errorf("%s is told without a change", name)
		default:
		}
		if got[0] != "a" || got[1] != "a" || got[2] != "b" {
			t.Errorf("told %v, want [a a b]", got)
		}
		c.Mark("c")
		c.Close() // ends delivery although nobody reads
		c.Close()
	})
}
