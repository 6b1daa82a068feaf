package inference

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"iter"

	"github.com/haldane-project/haldane/internal/release"
)

// Bounds of what is decompressed beside the answer, which passes as it is.
const (
	maxInflating = 128      // answers at once; each takes some 50 KiB
	maxInflated  = 16 << 20 // bytes of one answer
)

// inflater decompresses an answer as it comes. The decompressor, which wants to
// read, runs as a coroutine that stops where it needs bytes that have not come.
type inflater struct {
	i      *Interpreter
	input  []byte // not read yet; nil with over: at the end
	over   bool
	resume func() (release.Unread, bool)
	stop   func()
	why    release.Unread // the coroutine ended so
	ended  bool
}

// inflate begins to decompress into sink; nil: too many are under way.
func (i *Interpreter) inflate(encoding string, sink func([]byte)) *inflater {
	if i.inflating.Add(1) > maxInflating {
		i.inflating.Add(-1)
		return nil
	}
	f := &inflater{i: i}
	f.resume, f.stop = iter.Pull(func(yield func(release.Unread) bool) {
		f.why, f.ended = f.run(encoding, &starved{f: f, yield: yield}, sink), true
	})
	return f
}

// feed takes the next compressed bytes; an answer says why no more can be read.
func (f *inflater) feed(p []byte) release.Unread {
	if f.ended {
		return f.why
	}
	f.input = p
	f.resume()
	f.input = nil
	return f.why
}

// close ends the answer.
func (f *inflater) close() release.Unread {
	if f.stop == nil {
		return f.why
	}
	if !f.ended {
		f.over = true
		f.resume()
	}
	f.stop()
	f.stop = nil
	f.i.inflating.Add(-1)
	return f.why
}

// starved gives the decompressor what has come and stops it where that is all.
type starved struct {
	f     *inflater
	yield func(release.Unread) bool
}

var errStopped = errors.New("inference: the answer was given up")

func (s *starved) Read(p []byte) (int, error) {
	for len(s.f.input) == 0 {
		if s.f.over {
			return 0, io.EOF
		}
		if !s.yield("") {
			return 0, errStopped
		}
	}
	n := copy(p, s.f.input)
	s.f.input = s.f.input[n:]
	return n, nil
}

func (f *inflater) run(encoding string, src io.Reader, sink func([]byte)) release.Unread {
	in := bufio.NewReaderSize(src, 512)
	var z io.Reader
	var err error
	if encoding == "deflate" {
		z, err = deflate(in)
	} else {
		z, err = gzip.NewReader(in)
	}
	if err != nil {
		return release.UnreadEncoding
	}
	var buf [2 << 10]byte
	for total := 0; ; {
		n, err := z.Read(buf[:])
		sink(buf[:n])
		total += n
		switch {
		case total > maxInflated:
			return release.UnreadTooLarge
		case errors.Is(err, io.EOF):
			return ""
		case err != nil:
			return release.UnreadEncoding
		}
	}
}

// deflate reads the zlib format that RFC 9110 means, or the bare one that some
// servers send.
func deflate(in *bufio.Reader) (io.Reader, error) {
	head, err := in.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&15 == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(in)
	}
	return flate.NewReader(in), nil
}
