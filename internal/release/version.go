package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// NewVersion names a workload template by its content. The name that people
// gave is a part of it: a new name alone makes a new version (a program that
// was rebuilt behind the same command).
func NewVersion(name string, w Workload) Version {
	b, err := json.Marshal(struct {
		Name     string
		Workload Workload
	}{name, w})
	if err != nil {
		panic("release: a workload that does not marshal: " + err.Error())
	}
	sum := sha256.Sum256(b)
	id := VersionID(hex.EncodeToString(sum[:5]))
	if name == "" {
		name = string(id)
	}
	return Version{ID: id, Name: name, Workload: w}
}
