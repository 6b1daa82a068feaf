package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Program says what an instance runs.
type Program struct {
	Command []string      // program and arguments, no shell; {port} stands for the instance's port
	Dir     string        // working directory; empty: the supervisor's own
	Env     []Var         // added to PATH, HOME, LANG, TZ and TMPDIR of the supervisor
	PortEnv string        // variable that holds the port; empty: PORT
	Ready   Probe         // when it counts as ready
	WarmUp  WarmUp        // requests before it counts as ready
	Drain   time.Duration // longest wait for Options.Leave before SIGTERM; 0: none
	H2C     bool          // the instance speaks HTTP/2 without TLS
}

// Var is one environment variable. From names where its value is read when an
// instance starts: "env:NAME" or "file:/path"; what was read that way is
// masked in logs.
type Var struct{ Name, Value, From string }

// WarmUp are requests to a new instance: GET, where any answer will do, or the POST
// of Body, JSON, where a 2xx is wanted. A version that rewrites its requests is
// warmed by rewritten ones: with its own prompt, model or adapter.
type WarmUp struct {
	Requests int
	Path     string
	Body     string
	Set      []release.Header
	err      error // why the requests can not be made
}

// WarmUpOf is the warm-up of a version's instances.
func WarmUpOf(w release.Workload) WarmUp {
	if w.WarmUp == nil {
		return WarmUp{}
	}
	out := WarmUp{Requests: w.WarmUp.Requests, Path: w.WarmUp.Path, Body: w.WarmUp.Body}
	if w.Rewrite == nil {
		return out
	}
	r, err := release.NewRewriter(w.Rewrite)
	if err != nil {
		out.err = err
		return out
	}
	out.Path, out.Set = r.Prefix+"/"+strings.TrimPrefix(out.Path, "/"), r.Set
	if out.Body != "" && r.EditsBody() {
		out.Body = string(r.Edit([]byte(out.Body)))
	}
	return out
}

// String is the command as people read it.
func (p Program) String() string { return strings.Join(p.Command, " ") }

func (p Program) withDefaults() Program {
	if p.PortEnv == "" {
		p.PortEnv = "PORT"
	}
	p.Ready = p.Ready.withDefaults()
	return p
}

func (p Program) url(address string) string {
	if p.H2C {
		return "h2c://" + address
	}
	return "http://" + address
}

// blockedError is what no retry will mend: a person must act.
type blockedError struct{ error }

func (e blockedError) Unwrap() error { return e.error }

func blocked(format string, args ...any) error { return blockedError{fmt.Errorf(format, args...)} }

func isBlocked(err error) bool {
	var b blockedError
	return errors.As(err, &b)
}

// launch is a program made ready for one start: nothing is left to look up.
type launch struct {
	path    string
	argv    []string
	dir     string
	env     []string
	secrets []string
}

// inherited names what a program gets of the supervisor's own environment.
var inherited = []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"}

// tokenEnv marks every process of an instance, so that its descendants are
// found even when they left the process group.
const tokenEnv = "HALDANE_INSTANCE"

func (p Program) prepare(port int, token string) (launch, error) {
	if len(p.Command) == 0 || p.Command[0] == "" {
		return launch{}, blocked("the command is empty: give a program")
	}
	l := launch{dir: p.Dir}
	if err := checkDir(p.Dir); err != nil {
		return launch{}, err
	}
	env, err := p.environment(&l)
	if err != nil {
		return launch{}, err
	}
	env[p.PortEnv], env[tokenEnv] = strconv.Itoa(port), token
	for name, value := range env {
		l.env = append(l.env, name+"="+value)
	}
	for _, arg := range p.Command {
		l.argv = append(l.argv, strings.ReplaceAll(arg, "{port}", strconv.Itoa(port)))
	}
	l.path, err = lookProgram(l.argv[0], p.Dir, env["PATH"])
	return l, err
}

func (p Program) environment(l *launch) (map[string]string, error) {
	env := map[string]string{}
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			env[name] = v
		}
	}
	for _, v := range p.Env {
		value := v.Value
		if v.From != "" {
			var err error
			if value, err = v.resolve(p.Dir); err != nil {
				return nil, err
			}
			l.secrets = append(l.secrets, value)
		}
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, blocked("environment variable %q: a name has no \"=\", and neither name nor value has a zero byte", v.Name)
		}
		env[v.Name] = value
	}
	return env, nil
}

// maxValue bounds a value read from a file: what the kernel takes for one string.
const maxValue = 128 << 10

func (v Var) resolve(dir string) (string, error) {
	kind, ref, _ := strings.Cut(v.From, ":")
	switch kind {
	case "env":
		value, ok := os.LookupEnv(ref)
		if !ok {
			return "", blocked("environment variable %s of the program comes from %s, which is not set where Haldane runs: set it and start Haldane again", v.Name, v.From)
		}
		return value, nil
	case "file":
		value, err := readValue(within(dir, ref))
		if err != nil {
			return "", blocked("environment variable %s of the program comes from %s: %w", v.Name, v.From, err)
		}
		return value, nil
	}
	return "", blocked("environment variable %s of the program comes from %q: known are env:NAME and file:/path", v.Name, v.From)
}

// readValue reads a file without its last line end.
func readValue(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer letGo(f)
	b, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxValue {
		return "", fmt.Errorf("%s is larger than %d bytes, too much for an environment variable", path, maxValue)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

func checkDir(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return blocked("working directory: %w", err)
	}
	if !info.IsDir() {
		return blocked("working directory %s is a file: expected a directory", dir)
	}
	return nil
}

// lookProgram finds what the program itself would run: names with a slash are
// relative to its directory, others are looked up in its own PATH.
func lookProgram(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		full := within(dir, name)
		return full, executable(full)
	}
	var found error
	for _, d := range filepath.SplitList(path) {
		full := filepath.Join(d, name)
		err := executable(full)
		if d != "" && err == nil {
			return full, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			found = err
		}
	}
	if found != nil {
		return "", found
	}
	return "", blocked("program %q was not found in PATH (%s): install it or give its full path", name, path)
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return blocked("program: %w", err)
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return blocked("program %s is not executable: make it so with chmod +x", path)
	}
	return nil
}

func within(dir, path string) string {
	if filepath.IsAbs(path) || dir == "" {
		return path
	}
	return filepath.Join(dir, path)
}
