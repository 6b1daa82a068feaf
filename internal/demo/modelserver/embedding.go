package modelserver

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/demo/ngram"
)

const (
	dimensions = 256 // the most of an embedding
	maxInputs  = 2048
)

// embeddings answers with hashed vectors: each word and each pair of words adds
// plus or minus one at a place of its own; the vector has the length 1. Texts
// that share words lie near each other.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Model      string `json:"model"`
		Input      texts  `json:"input"`
		Encoding   string `json:"encoding_format"`
		Dimensions *int   `json:"dimensions"`
	}
	if _, ok := read(w, r, &q); !ok || s.model(w, q.Model) == nil {
		return
	}
	size := dimensions
	if q.Dimensions != nil {
		size = *q.Dimensions
	}
	switch {
	case len(q.Input) == 0 || len(q.Input) > maxInputs:
		fail(w, http.StatusBadRequest, "invalid_request_error", "input", "%d texts were given, expected 1 to %d", len(q.Input), maxInputs)
		return
	case size < 1 || size > dimensions:
		fail(w, http.StatusBadRequest, "invalid_request_error", "dimensions", "dimensions is %d, expected 1 to %d", size, dimensions)
		return
	case q.Encoding != "" && q.Encoding != "float" && q.Encoding != "base64":
		fail(w, http.StatusBadRequest, "invalid_request_error", "encoding_format", "encoding_format is %q, expected float or base64", q.Encoding)
		return
	}
	luck := s.draw()
	if luck.errors {
		fail(w, http.StatusServiceUnavailable, "server_error", "", "the model is overloaded; try again")
		return
	}
	if !pause(r.Context(), time.Now().Add(luck.first)) {
		return
	}
	data, tokens := make([]any, len(q.Input)), 0
	for i, text := range q.Input {
		tokens += ngram.Count(text)
		var vector any = embed(text, size)
		if q.Encoding == "base64" {
			vector = packed(embed(text, size))
		}
		data[i] = map[string]any{"object": "embedding", "index": i, "embedding": vector}
	}
	answer(w, http.StatusOK, map[string]any{"object": "list", "data": data, "model": q.Model,
		"usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens}})
}

func embed(text string, size int) []float32 {
	v := make([]float64, size)
	last := ""
	for _, word := range ngram.Split(strings.ToLower(text)) {
		word = strings.TrimSpace(word)
		for _, gram := range []string{word, last + " " + word} {
			h := fnv.New64a()
			_, _ = h.Write([]byte(gram)) // never fails
			sum := h.Sum64()
			v[sum%uint64(size)] += 1 - 2*float64(sum>>63)
		}
		last = word
	}
	norm := 0.0
	for _, x := range v {
		norm += x * x
	}
	out := make([]float32, size)
	for i, x := range v {
		if norm > 0 {
			out[i] = float32(x / math.Sqrt(norm))
		}
	}
	return out
}

// packed is the API's base64: little-endian float32.
func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
