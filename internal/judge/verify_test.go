package judge

import (
	"os"
	"strings"
	"testing"
)

func TestVerifyMeetsEveryReferenceValue(t *testing.T) {
	f, err := os.Open("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := Verify(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range v.Misses {
		t.Error(m)
	}
	if v.Cases < 50 || v.Figures < 190 {
		t.Errorf("%d cases with %d figures were checked, want the whole file", v.Cases, v.Figures)
	}
}

func TestVerifyReportsMisses(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"a wrong value", `{"cases":[{"id":"x","method":"coin_one_sided","inputs":{"worse":5,"better":0,"a":1,"b":1},"expected":{"log_e":2.5},"tol":1e-9}]}`, "log_e is 2."},
		{"an unknown method", `{"cases":[{"id":"x","method":"guess","inputs":{},"expected":{"log_e":1}}]}`, "expected one of label_bet"},
		{"an unknown figure", `{"cases":[{"id":"x","method":"coin_one_sided","inputs":{"worse":1,"better":0,"a":1,"b":1},"expected":{"odds":1}}]}`, "not computed"},
		{"broken inputs", `{"cases":[{"id":"x","method":"coin_one_sided","inputs":[],"expected":{"log_e":1}}]}`, "inputs cannot be read"},
		{"lists of different length", `{"cases":[{"id":"x","method":"rho_grid","inputs":{"rho":[1,2],"prior":[1]},"expected":{"log_e":1}}]}`, "differ in length"},
		{"nothing expected", `{"cases":[{"id":"x","method":"coin_one_sided","inputs":{"a":1,"b":1},"expected":{}}]}`, "no value is expected"},
	} {
		v, err := Verify(strings.NewReader(c.file))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(v.Misses) == 0 || !strings.Contains(v.Misses[0].String(), c.want) {
			t.Errorf("%s: misses %v, want one that says %q", c.name, v.Misses, c.want)
		}
	}
	for _, file := range []string{"", "[]", `{"cases":[]}`} {
		if _, err := Verify(strings.NewReader(file)); err == nil {
			t.Errorf("file %q was taken, want an error", file)
		}
	}
}

func TestVerifyNamesInputsOutsideOfTheDomain(t *testing.T) {
	v, err := Verify(strings.NewReader(`{"cases": [{"id": "a", "method": "coin_one_sided", "inputs": {}, "expected": {"log_e": 1}}]}`))
	if err != nil || len(v.Misses) != 1 || !strings.Contains(v.Misses[0].Why, "domain") {
		t.Errorf("%+v, %v; want one miss that names the domain", v, err)
	}
}

func FuzzVerify(f *testing.F) {
	b, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		f.Add(`{"cases":[` + strings.TrimSuffix(line, ",") + `]}`)
	}
	f.Fuzz(func(_ *testing.T, file string) {
		_, _ = Verify(strings.NewReader(file))
	})
}
