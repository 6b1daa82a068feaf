package release

import (
	"strings"
	"testing"
)

func FuzzSetField(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1},"a":2}`), "a.b")
	f.Add([]byte(`{}`), "")
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		out, ok := setField(b, strings.Split(path, "."), []byte(`"x"`))
		if ok && !strings.Contains(string(out), `"x"`) {
			t.Errorf("%s with %s set: %s", b, path, out)
		}
	})
}
