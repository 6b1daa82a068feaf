package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is a running process that serves at an address.
type server struct {
	address string
	pids    func() []int
	stop    func()
}

// contender is one way from a client to the backend.
type contender struct {
	name  string
	start func(ctx context.Context, dir string, back *server) (s *server, missing string, err error)
}

var contenders = []contender{
	{"direct", func(_ context.Context, _ string, back *server) (*server, string, error) {
		return &server{address: back.address, pids: back.pids, stop: func() {}}, "", nil
	}},
	{"haldane", func(ctx context.Context, _ string, back *server) (*server, string, error) {
		s, err := startSelf(ctx, "proxy", back.address)
		return s, "", err
	}},
	{"nginx", startNginx},
	{"haproxy", startHAProxy},
}

// startSelf starts this program in another role with one core's worth of
// threads; its first line of output is its address.
func startSelf(ctx context.Context, role ...string) (*server, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, append([]string{"serve"}, role...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start %v: it said no address: %w", role, err)
	}
	return process(cmd, strings.TrimSpace(line)), nil
}

func process(cmd *exec.Cmd, address string) *server {
	return &server{
		address: address,
		pids:    func() []int { return family(cmd.Process.Pid) },
		stop: func() {
			cmd.Process.Signal(syscall.SIGTERM)
			done := make(chan struct{})
			go func() { cmd.Wait(); close(done) }()
			select {
			case <-done:
			case <-time.After(3 * time.Second):
				cmd.Process.Kill()
				<-done
			}
		},
	}
}

// family is a process and its children.
func family(pid int) []int {
	list := []int{pid}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(b)) {
		var child int
		if _, err := fmt.Sscan(f, &child); err == nil {
			list = append(list, child)
		}
	}
	return list
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

const nginxConf = `
worker_processes 1;
daemon off;
master_process on;
error_log stderr crit;
pid %[1]s/nginx.pid;
events { worker_connections 12000; }
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_timeout 120s;
  keepalive_requests 100000000;
  upstream back { server %[3]s; keepalive 512; keepalive_requests 100000000; keepalive_timeout 4s; }
  server {
    listen %[2]s backlog=4096;
    location / {
      proxy_pass http://back;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Request-Id $request_id;
    }
  }
}
`

func startNginx(ctx context.Context, dir string, back *server) (*server, string, error) {
	return startPeer(ctx, dir, "nginx", nginxConf, back, func(conf string) []string { return []string{"-p", dir, "-c", conf} })
}

const haproxyConf = `
global
  maxconn 9000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 30s
  timeout http-keep-alive 120s
  option forwardfor
  http-reuse always
frontend f
  bind %[2]s
  unique-id-format %%{+X}o\ %%ci:%%cp_%%fi:%%fp_%%Ts_%%rt:%%pid
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %%[req.hdr(Host)]
  default_backend b
backend b
  server s %[3]s pool-max-conn 512
`

func startHAProxy(ctx context.Context, dir string, back *server) (*server, string, error) {
	return startPeer(ctx, dir, "haproxy", haproxyConf, back, func(conf string) []string { return []string{"-f", conf} })
}

// startPeer writes a configuration (directory, listen address, backend) and
// waits until the peer accepts.
func startPeer(ctx context.Context, dir, name, format string, back *server, args func(string) []string) (*server, string, error) {
	exe, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, name, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("look for %s: %w", name, err)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	conf := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, format, dir, address, back.address), 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, exe, args(conf)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	s := process(cmd, address)
	for range 200 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return s, "", nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	return nil, "", fmt.Errorf("it does not accept at %s", address)
}
