package kubernetes

import (
	"context"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a configuration as the file that programs read.
func writeKubeconfig(t *testing.T, c *rest.Config) string {
	t.Helper()
	out := api.NewConfig()
	out.Clusters["test"] = &api.Cluster{Server: c.Host, CertificateAuthority: c.CAFile, CertificateAuthorityData: c.CAData, TLSServerName: c.ServerName}
	out.AuthInfos["test"] = &api.AuthInfo{Token: c.BearerToken, TokenFile: c.BearerTokenFile}
	out.Contexts["test"] = &api.Context{Cluster: "test", AuthInfo: "test"}
	out.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*out, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// account is the controller's service account, with the rights of an
// administrator: its own are the matter of TestInstalled.
func (w *world) account() *rest.Config {
	w.Helper()
	ctx := context.Background()
	_, _ = w.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "haldane-system"}}, metav1.CreateOptions{})
	_, _ = w.Client.CoreV1().ServiceAccounts("haldane-system").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "haldane"}}, metav1.CreateOptions{})
	w.Apply(w.T, "", `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: haldane-e2e}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: haldane, namespace: haldane-system}]
`)
	return w.As(w.T, "haldane-system", "haldane")
}
