package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Image is a container image of one layer, made without Docker.
type Image struct {
	Name       string // with a tag, such as haldane.test/echo:1; use imagePullPolicy: Never
	Root       string // directory that becomes the file system
	Entrypoint []string
	Env        []string
	Dir        string // working directory
}

// WriteTar writes the image as an archive that containerd, Docker and kind load.
func (i Image) WriteTar(w io.Writer) error {
	layer, err := os.CreateTemp("", "haldane-layer-")
	if err != nil {
		return err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	sum := sha256.New()
	if err := tarDir(io.MultiWriter(layer, sum), i.Root); err != nil {
		return err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": i.Entrypoint, "Env": i.Env, "WorkingDir": i.Dir},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{i.Name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for name, data := range map[string][]byte{"config.json": config, "manifest.json": manifest} {
		if err := addFile(out, name, int64(len(data)), bytes.NewReader(data)); err != nil {
			return err
		}
	}
	size, err := layer.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := addFile(out, "layer.tar", size, layer); err != nil {
		return err
	}
	return out.Close()
}

func addFile(w *tar.Writer, name string, size int64, data io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := io.Copy(w, data)
	return err
}

// tarDir writes the files, directories and links below root, owned by root.
func tarDir(w io.Writer, root string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name, _ = filepath.Rel(root, path)
		h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime = 0, 0, "", "", time.Unix(0, 0)
		if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(out, f)
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// LoadGo builds a package of this module as a static program and loads it into
// the cluster as an image whose entry point it is; only the first call does.
func (c *Cluster) LoadGo(t testing.TB, name, pkg string) {
	t.Helper()
	c.once("image "+name+" of "+pkg, func() {
		dir := t.TempDir()
		if err := staticProgram(pkg, filepath.Join(dir, "app")); err != nil {
			t.Fatal(err)
		}
		c.Load(t, Image{Name: name, Root: dir, Entrypoint: []string{"/app"}})
	})
}

func staticProgram(pkg, out string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, tail(out, 2000))
	}
	return nil
}

// LoadFlask loads an image of Debian's python3 and Flask with the files of a
// directory in /srv; it runs `python3 app.py` there. The packages are
// downloaded by apt-get once.
func (c *Cluster) LoadFlask(t testing.TB, name, appDir string) {
	t.Helper()
	packages, err := debianPackages("python3-minimal", "python3-flask")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := unpackDebian(root, packages); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(root, "srv"), os.DirFS(appDir)); err != nil {
		t.Fatal(err)
	}
	c.Load(t, Image{Name: name, Root: root, Entrypoint: []string{"/usr/bin/python3", "app.py"}, Dir: "/srv",
		Env: []string{"PATH=/usr/bin:/bin", "PYTHONUNBUFFERED=1"}})
}

// debianPackages downloads packages and all that they need into the cache.
func debianPackages(names ...string) ([]string, error) {
	dir, err := CacheDir("debian/" + strings.Join(names, "+"))
	if err != nil {
		return nil, err
	}
	have, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(have) > 0 {
		return have, err
	}
	args := append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
		"--no-replaces", "--no-enhances"}, names...)
	out, err := exec.Command("apt-cache", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("find what %s needs (a Debian or Ubuntu with `apt-get update` done is expected): %w", strings.Join(names, ", "), withStderr(err))
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "download-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	args = []string{"download", "-q"}
	for _, line := range strings.Split(string(out), "\n") {
		if line != "" && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "<") && !skipped(line) {
			args = append(args, line)
		}
	}
	get := exec.Command("apt-get", args...)
	get.Dir = tmp
	if out, err := get.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("download %s: %w\n%s", strings.Join(names, ", "), err, tail(out, 1000))
	}
	if err := os.Remove(dir); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}

// skipped are packages that only serve installation, or are virtual.
func skipped(name string) bool {
	for _, s := range []string{"dpkg", "perl", "libperl", "install-info", "gcc-", "libdb5", "libgdbm", "tar", "libacl", "libselinux",
		"libpcre", "libmd0", "libjs-", "media-types", "mailcap", "mime-support", "readline-common"} {
		if strings.HasPrefix(name, s) {
			return true
		}
	}
	return false
}

// unpackDebian lays packages out below root, where /bin and /lib are links into
// /usr as in every Debian. Nothing is configured or run.
func unpackDebian(root string, packages []string) error {
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", d), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+d, filepath.Join(root, d)); err != nil {
			return err
		}
	}
	for _, d := range []string{"etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for _, p := range packages {
		unpack := exec.Command("sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink --no-same-owner`, "sh", p, root)
		if out, err := unpack.CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", p, err, tail(out, 1000))
		}
	}
	for _, d := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale"} {
		if err := os.RemoveAll(filepath.Join(root, d)); err != nil {
			return err
		}
	}
	return nil
}

// Load puts an image into the cluster's node. For a cluster of the user's own
// the command in HALDANE_IMAGE_LOAD does it, given the path of the archive, such
// as "kind load image-archive".
func (c *Cluster) Load(t testing.TB, image Image) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := image.WriteTar(f); err != nil {
		t.Fatalf("make the image %s: %v", image.Name, err)
	}
	if err := c.importImage(path); err != nil {
		t.Fatalf("load the image %s: %v", image.Name, err)
	}
}

// LoadArchive puts the images of an archive (docker save, ctr images export)
// into the cluster's node, as Load does.
func (c *Cluster) LoadArchive(t testing.TB, path string) {
	t.Helper()
	if err := c.importImage(path); err != nil {
		t.Fatalf("load the image archive %s: %v", path, err)
	}
}

func (c *Cluster) importImage(path string) error {
	var command []string
	switch load := os.Getenv("HALDANE_IMAGE_LOAD"); {
	case c.nodeDir != "":
		command = []string{"ctr", "--address", containerdSocket(c.nodeDir), "-n", "k8s.io", "images", "import", path}
	case load != "":
		command = append(strings.Fields(load), path)
	default:
		return fmt.Errorf("this cluster was not started here: say in HALDANE_IMAGE_LOAD how it takes an image archive, for example HALDANE_IMAGE_LOAD='kind load image-archive'")
	}
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, tail(out, 1000))
	}
	return nil
}

func containerdSocket(dir string) string { return filepath.Join(dir, "containerd.sock") }
