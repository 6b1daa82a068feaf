package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// serviceRange holds the addresses of Services. It lies apart from podRange and
// from what fake pods get.
const serviceRange = "10.96.0.0/16"

// users are who has a token; each is told apart in the audit log.
var users = []struct{ file, name, groups string }{
	{"admin", "admin", "system:masters"},
	{"kube-controller-manager", "system:kube-controller-manager", "system:masters"},
	{"kube-scheduler", "system:kube-scheduler", "system:masters"},
	{"kubelet", "system:node:" + NodeName, "system:masters,system:nodes"},
	{"kube-proxy", "system:kube-proxy", "system:masters"},
	{"coredns", "coredns", "system:masters"},
	{"traefik", "traefik", "system:masters"},
	{"istiod", "istiod", "system:masters"},
	{"metrics-server", "metrics-server", "system:masters"},
}

// auditPolicy writes one line for each request when it is complete (a watch:
// when it begins).
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: Metadata
`

func (p *plane) writeFiles() error {
	if _, err := os.Stat(p.path("tokens.csv")); err == nil {
		return p.writeKubeconfigs() // another try: other ports, same secrets
	}
	var tokens strings.Builder
	for _, u := range users {
		token := rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, u.name, u.file, u.groups)
		if err := os.WriteFile(p.path(u.file+".token"), []byte(token), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.path("tokens.csv"), []byte(tokens.String()), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(p.path("audit-policy.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	if err := p.writeKeys(); err != nil {
		return err
	}
	return p.writeKubeconfigs()
}

// writeKeys makes the key that signs service accounts' tokens and the authority
// by which aggregated APIs know the API server.
func (p *plane) writeKeys() error {
	signing, err := newKey(p.path("service-accounts.key"))
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&signing.PublicKey)
	if err != nil {
		return err
	}
	if err := writePEM(p.path("service-accounts.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	authority, err := newKey(p.path("front-proxy-ca.key"))
	if err != nil {
		return err
	}
	client, err := newKey(p.path("front-proxy.key"))
	if err != nil {
		return err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "front-proxy-ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "front-proxy-client"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range []struct {
		name string
		cert *x509.Certificate
		key  *ecdsa.PrivateKey
	}{{"front-proxy-ca.crt", root, authority}, {"front-proxy.crt", leaf, client}} {
		der, err := x509.CreateCertificate(rand.Reader, c.cert, root, &c.key.PublicKey, authority)
		if err != nil {
			return err
		}
		if err := writePEM(p.path(c.name), "CERTIFICATE", der); err != nil {
			return err
		}
	}
	return nil
}

func newKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writeKubeconfigs writes one file for each user; the administrator's is called
// kubeconfig.
func (p *plane) writeKubeconfigs() error {
	for _, u := range users {
		config := api.NewConfig()
		config.Clusters["haldane"] = &api.Cluster{Server: p.url(), CertificateAuthority: p.caFile()}
		config.AuthInfos["haldane"] = &api.AuthInfo{TokenFile: p.path(u.file + ".token")}
		config.Contexts["haldane"] = &api.Context{Cluster: "haldane", AuthInfo: "haldane", Namespace: "default"}
		config.CurrentContext = "haldane"
		name := u.file + ".kubeconfig"
		if u.file == "admin" {
			name = "kubeconfig"
		}
		if err := clientcmd.WriteToFile(*config, p.path(name)); err != nil {
			return err
		}
	}
	return nil
}

func (p *plane) config(user string) *rest.Config {
	return &rest.Config{
		Host: p.url(), BearerTokenFile: p.path(user + ".token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: p.caFile()}, QPS: -1,
	}
}

func (p *plane) path(name string) string { return filepath.Join(p.opts.dir, name) }

func (p *plane) flags() {
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", p.etcdPort), fmt.Sprintf("http://127.0.0.1:%d", p.etcdPeer)
	p.etcdFlags = []string{
		"--data-dir=" + p.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
	}
	p.apiFlags = []string{
		"--etcd-servers=" + client, "--bind-address=" + p.opts.address, "--advertise-address=" + p.opts.address,
		fmt.Sprintf("--secure-port=%d", p.port), "--cert-dir=" + p.path("certs"),
		"--service-cluster-ip-range=" + serviceRange, "--allow-privileged", "--profiling=false",
		"--token-auth-file=" + p.path("tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-key-file=" + p.path("service-accounts.pub"),
		"--service-account-signing-key-file=" + p.path("service-accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--audit-policy-file=" + p.path("audit-policy.yaml"), "--audit-log-path=" + p.path(auditLog),
		"--audit-log-maxsize=8192", "--audit-log-mode=blocking", "--shutdown-delay-duration=0s",
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + p.path("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + p.path("front-proxy.crt"), "--proxy-client-key-file=" + p.path("front-proxy.key"),
	}
	controllers := "--controllers=*,-node-ipam-controller"
	if p.opts.node {
		p.apiFlags = append(p.apiFlags, "--kubelet-client-certificate="+p.path("front-proxy.crt"), "--kubelet-client-key="+p.path("front-proxy.key"))
	} else { // a fake node sends no heartbeats, and that is no fault
		p.apiFlags = append(p.apiFlags, "--endpoint-reconciler-type=none")
		controllers += ",-node-lifecycle-controller,-taint-eviction-controller,-device-taint-eviction-controller"
	}
	p.kcmFlags = []string{
		"--kubeconfig=" + p.path("kube-controller-manager.kubeconfig"), controllers, "--leader-elect=false", "--secure-port=0",
		"--service-account-private-key-file=" + p.path("service-accounts.key"), "--root-ca-file=" + p.caFile(),
		"--use-service-account-credentials", "--kube-api-qps=500", "--kube-api-burst=1000",
		"--horizontal-pod-autoscaler-sync-period=2s", "--profiling=false",
	}
}

// NodeName is the node of a full cluster.
const NodeName = "haldane"

// DNS is where the full cluster's names are answered.
const DNS = nodeAddress + ":53"
