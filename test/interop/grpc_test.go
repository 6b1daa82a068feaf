package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
)

// cases are the fourteen of gRPC's interop suite that need no cloud account.
var cases = []struct {
	name string
	run  func(context.Context, *grpc.ClientConn)
}{
	{"empty_unary", service(interop.DoEmptyUnaryCall)},
	{"large_unary", service(interop.DoLargeUnaryCall)},
	{"client_streaming", service(interop.DoClientStreaming)},
	{"server_streaming", service(interop.DoServerStreaming)},
	{"ping_pong", service(interop.DoPingPong)},
	{"empty_stream", service(interop.DoEmptyStream)},
	{"timeout_on_sleeping_server", service(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", service(cancelAfterBegin)},
	{"cancel_after_first_response", service(interop.DoCancelAfterFirstResponse)},
	{"status_code_and_message", service(interop.DoStatusCodeAndMessage)},
	{"special_status_message", service(interop.DoSpecialStatusMessage)},
	{"custom_metadata", service(interop.DoCustomMetadata)},
	{"unimplemented_method", interop.DoUnimplementedMethod},
	{"unimplemented_service", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
	}},
}

func service(f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, cc *grpc.ClientConn) { f(ctx, testgrpc.NewTestServiceClient(cc)) }
}

// cancelAfterBegin is the suite's cancel_after_begin but for the end of the
// upload, which the suite's client sends after it cancelled: where its own
// machine is busy a server sees that end first and answers, and both are right.
func cancelAfterBegin(ctx context.Context, tc testgrpc.TestServiceClient, opts ...grpc.CallOption) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := tc.StreamingInputCall(ctx, opts...)
	if err != nil {
		panic(fmt.Sprintf("cancel_after_begin: %v", err))
	}
	cancel()
	if err := stream.RecvMsg(new(testgrpc.StreamingInputCallResponse)); status.Code(err) != codes.Canceled {
		panic(fmt.Sprintf("cancel_after_begin: got %v, want code Canceled", err))
	}
}

// A failed case ends the test program: the suite's own functions do that.
func TestGRPC(t *testing.T) {
	runs := 3
	if s := os.Getenv("HALDANE_INTEROP_RUNS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("HALDANE_INTEROP_RUNS=%q: expected a number", s)
		}
		runs = n
	}
	certs := newCertificate(t)
	for _, transport := range []struct {
		name  string
		tls   *release.TLS
		creds credentials.TransportCredentials
	}{
		{"h2c", nil, insecure.NewCredentials()},
		{"tls", &certs.files, credentials.NewTLS(&tls.Config{RootCAs: certs.pool, ServerName: "localhost"})},
	} {
		for _, flipping := range []bool{false, true} {
			name := transport.name
			if flipping {
				name += "/weights flip"
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, transport.tls)
				if flipping {
					w.flip(t)
				}
				cc, err := grpc.NewClient(w.address, grpc.WithTransportCredentials(transport.creds))
				if err != nil {
					t.Fatal(err)
				}
				defer cc.Close()
				for _, c := range cases {
					for range runs {
						c.run(context.Background(), cc)
					}
				}
				w.check(t, runs)
			})
		}
	}
}

// world is the proxy before two gRPC servers.
type world struct {
	proxy   *proxy.Proxy
	address string
	routing proxy.Routing
	counts  [3]atomic.Int64 // by outcome
	failed  sync.Map        // cause -> count of failures
}

func (w *world) Observe(o *release.Observation) {
	w.counts[o.Outcome].Add(1)
	if o.Outcome == release.Failed {
		n, _ := w.failed.LoadOrStore(o.Cause, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
}

func newWorld(t *testing.T, files *release.TLS) *world {
	w := &world{}
	w.proxy = proxy.New(proxy.Options{Name: "interop", Observer: w})
	w.routing = proxy.Routing{
		Config: release.Embedded{TLS: files},
		Split:  split(5000),
		Backends: []release.Backend{
			{Version: "a", Addresses: []string{"h2c://" + startServer(t)}},
			{Version: "b", Addresses: []string{"h2c://" + startServer(t)}},
		},
	}
	w.listen(t)
	return w
}

// listen puts the routing in force and serves it.
func (w *world) listen(t *testing.T) {
	if err := w.proxy.Set(w.routing); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	go w.proxy.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.proxy.Shutdown(ctx) // idle client connections are closed by force
	})
}

func split(b release.Weight) release.Split {
	return release.Split{Salt: "interop-1", Rest: "a", Shares: []release.Share{
		{Version: "a", Weight: release.Full - b}, {Version: "b", Weight: b},
	}}
}

func startServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// flip changes the weights a hundred times a second until the test ends.
func (w *world) flip(t *testing.T) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		r, tick := w.routing, time.NewTicker(10*time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			r.Split = split(release.Weight(i%3) * 5000)
			if err := w.proxy.Set(r); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

// check compares what was observed with what the suite provokes: each run asks
// for status UNKNOWN three times, UNIMPLEMENTED twice, and gives a server that sleeps
// a millisecond: where the client is not there first, the proxy finds that it is over.
func (w *world) check(t *testing.T, runs int) {
	w.failed.Range(func(cause, n any) bool {
		most := map[any]int64{"GRPCStatus": int64(6 * runs), "Timeout": int64(runs)}[cause]
		if n := n.(*atomic.Int64).Load(); n > most {
			t.Errorf("%d failures by %v: want at most %d", n, cause, most)
		}
		return true
	})
	if n := w.counts[release.Failed].Load(); n > int64(6*runs) {
		t.Errorf("%d failures in %d runs: more than the suite provokes", n, runs)
	}
}

// certificate is a self-made certificate for localhost, in files.
type certificate struct {
	files release.TLS
	pool  *x509.CertPool
}

func newCertificate(t *testing.T) certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate{pool: x509.NewCertPool()}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.pool.AppendCertsFromPEM(cert)
	dir := t.TempDir()
	c.files = release.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for file, b := range map[string][]byte{
		c.files.CertFile: cert, c.files.KeyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}
