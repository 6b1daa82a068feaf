// Command echo is the service of the cluster's own tests: over HTTP on :8080
// and gRPC on :9090 it answers with the value of VERSION.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

type server struct {
	testgrpc.UnimplementedTestServiceServer
}

func (server) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return &testgrpc.SimpleResponse{ServerId: os.Getenv("VERSION")}, nil
}

func main() {
	l, err := net.Listen("tcp", ":9090")
	if err != nil {
		log.Fatal(err)
	}
	rpc := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(rpc, server{})
	go func() { log.Fatal(rpc.Serve(l)) }()

	fmt.Println("echo", os.Getenv("VERSION"))
	web := &http.Server{Addr: ":8080", ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, os.Getenv("VERSION"))
	})}
	log.Fatal(web.ListenAndServe())
}
