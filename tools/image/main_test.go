package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestImage: valid for both readers, not root, and the same twice.
func TestImage(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "haldane")
	if err := os.WriteFile(bin, []byte("#!program"), 0o600); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for range 2 {
		out := t.TempDir()
		if err := run("haldane:test", "test", out, []string{"amd64=" + bin, "arm64=" + bin}); err != nil {
			t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(filepath.Join(out, "oci"))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
		img, err := tarball.ImageFromPath(filepath.Join(out, "haldane-arm64.tar"), nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Config.User != user || cfg.Architecture != "arm64" || len(cfg.RootFS.DiffIDs) != 1 {
			t.Errorf("config %+v", cfg)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds differ: %v", digests)
	}
	if err := run("haldane:test", "test", t.TempDir(), []string{"amd64"}); err == nil {
		t.Error("a binary without a platform is taken")
	}
}
