// Command image packs the haldane binary into an OCI image without Docker: one
// layer with the one file, from scratch, not as root. The same binary gives the
// same digest: no clock, no host name, no build path is in it. It knows nothing
// of Haldane but the name of its program; this file is all of it.
//
//	image -tag haldane:v1 -out dist amd64=bin/haldane-amd64 arm64=bin/haldane-arm64
//
// writes dist/oci (an OCI layout, for registries: crane push dist/oci ...) and
// dist/haldane-ARCH.tar for each platform (for docker load and ctr images import).
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is nobody in particular, by number, so that runAsNonRoot can be checked.
const user = "65532:65532"

func main() {
	tag := flag.String("tag", "haldane:dev", "name and tag of the image")
	out := flag.String("out", "dist", "directory to write to")
	version := flag.String("version", "dev", "version, for the image's labels")
	flag.Parse()
	if err := run(*tag, *version, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(tag, version, out string, binaries []string) error {
	if len(binaries) == 0 {
		return errors.New("no binary: expected ARCH=FILE, such as amd64=bin/haldane")
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		return fmt.Errorf("-tag: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	created := v1.Time{Time: epoch()}
	index := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, b := range binaries {
		arch, file, ok := strings.Cut(b, "=")
		if !ok {
			return fmt.Errorf("%q: expected ARCH=FILE, such as amd64=bin/haldane", b)
		}
		img, err := build(file, arch, version, created)
		if err != nil {
			return fmt.Errorf("%s: %w", b, err)
		}
		if err := tarball.WriteToFile(filepath.Join(out, "haldane-"+arch+".tar"), ref, img); err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	dir := filepath.Join(out, "oci")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})); err != nil {
		return err
	}
	digest, err := partial.Descriptor(index)
	if err != nil {
		return err
	}
	fmt.Println(digest.Digest)
	return nil
}

// epoch is the time that stands in the image: SOURCE_DATE_EPOCH, or 1970.
func epoch() time.Time {
	n, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		n = 0
	}
	return time.Unix(n, 0).UTC()
}

func build(file, arch, version string, created v1.Time) (v1.Image, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	data, err := pack(body)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: created, CreatedBy: "haldane", Comment: "one static binary"}})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, config(img, arch, version, created))
}

// config says how the program is started. An image always has a config.
func config(img v1.Image, arch, version string, created v1.Time) *v1.ConfigFile {
	cfg, err := img.ConfigFile()
	if err != nil {
		panic(err) // made in memory a moment ago
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = "linux", arch, created
	cfg.Config = v1.Config{
		Entrypoint: []string{"/haldane"}, Cmd: []string{"controller"}, User: user, WorkingDir: "/",
		Env: []string{"HOME=/tmp"},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "haldane",
			"org.opencontainers.image.description": "Releases new versions of services and AI models safely",
			"org.opencontainers.image.version":     version,
			"org.opencontainers.image.licenses":    "Apache-2.0",
		},
	}
	return cfg
}

// pack is a tar with the program and a /tmp to write to.
func pack(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "haldane", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(body))},
	} {
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(body); err != nil {
				return nil, err
			}
		}
	}
	return b.Bytes(), w.Close()
}
