package kubernetes

import (
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a configuration as the file that programs read.
func writeKubeconfig(t *testing.T, c *rest.Config) string {
	t.Helper()
	out := api.NewConfig()
	out.Clusters["test"] = &api.Cluster{Server: c.Host, CertificateAuthority: c.CAFile, CertificateAuthorityData: c.CAData}
	out.AuthInfos["test"] = &api.AuthInfo{Token: c.BearerToken, TokenFile: c.BearerTokenFile}
	out.Contexts["test"] = &api.Context{Cluster: "test", AuthInfo: "test"}
	out.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*out, path); err != nil {
		t.Fatal(err)
	}
	return path
}
