package proxy

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// certificate is a key pair in files, read again when one of them changed.
type certificate struct {
	files release.TLS
	log   *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	stamp  [2]time.Time
	looked time.Time
}

// lookEvery bounds how often the files' times are asked for.
const lookEvery = time.Second

func tlsConfig(files release.TLS, log *slog.Logger) *tls.Config {
	c := &certificate{files: files, log: log}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(time.Now()) },
	}
}

// checkTLS reports whether the files hold a key pair now.
func checkTLS(files *release.TLS) error {
	if files == nil {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile); err != nil {
		return fmt.Errorf("read the TLS certificate %s with key %s: %w", files.CertFile, files.KeyFile, err)
	}
	return nil
}

// get returns the key pair. Files that changed into something unreadable
// leave the old pair in force.
func (c *certificate) get(now time.Time) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair != nil && now.Sub(c.looked) < lookEvery {
		return c.pair, nil
	}
	c.looked = now
	stamp := [2]time.Time{modified(c.files.CertFile), modified(c.files.KeyFile)}
	if c.pair != nil && stamp == c.stamp {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		if c.pair == nil {
			return nil, err
		}
		c.log.Warn("the TLS certificate changed but cannot be read; the old one stays", "file", c.files.CertFile, "error", err)
		return c.pair, nil
	}
	c.pair, c.stamp = &pair, stamp
	return c.pair, nil
}

func modified(file string) time.Time {
	i, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return i.ModTime()
}
