//go:build unix && !linux

package cluster

import "errors"

const nodeAddress = "127.0.0.1"

var errLinux = errors.New("a full cluster needs Linux: name one in HALDANE_KUBECONFIG")

func up(string, bool) (*Cluster, error) { return nil, errLinux }

func down(string) error { return nil }
