package inference

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// BenchmarkReply reads a stream of 200 tokens along, each chunk by itself: as small
// as chunks are, and as vLLM and OpenAI write them.
func BenchmarkReply(b *testing.B) {
	for name, chunk := range map[string]string{
		"small": `{"id":"1","model":"m-1","choices":[{"index":0,"delta":{"content":" token%d"},"finish_reason":null}]}`,
		"vllm": `{"id":"chatcmpl-9d1f6f2f0c5b4a0e8f7d6c5b4a392817","object":"chat.completion.chunk","created":1700000000,"model":"meta-llama/Llama-3.1-8B-Instruct",` +
			`"choices":[{"index":0,"delta":{"content":" token%d"},"logprobs":null,"finish_reason":null}]}`,
		"openai": `{"id":"chatcmpl-ABCdefGHIjklMNOpqrSTUvwxYZ012","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default",` +
			`"system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" token%d"},"logprobs":null,"finish_reason":null}],"obfuscation":"aB3dE5fG7hI9jK1"}`,
	} {
		b.Run(name, func(b *testing.B) {
			var pieces [][]byte
			for i := range 200 {
				pieces = append(pieces, fmt.Appendf(nil, "data: "+chunk+"\n\n", i))
			}
			pieces = append(pieces, []byte("data: [DONE]\n\n"))
			h := http.Header{"Content-Type": {"text/event-stream"}}
			i := New(release.Model{})
			at := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				d := &Dialogue{i: i, api: release.ChatAPI, request: newRequest(chatRequest)}
				r := d.Answer(at, 200, h)
				for _, p := range pieces {
					r.Read(p, at)
				}
				o := release.Observation{}
				if r.End(&o, true); o.Outcome != release.OK || o.Answer.Chunks != 200 {
					b.Fatalf("%+v", o.Answer)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/chunk")
		})
	}
}
