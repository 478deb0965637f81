//go:build tools

// Package testcluster names the programs that are built straight from their own modules, so that go.mod keeps them.
package testcluster

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v3/cmd/helm"
)
