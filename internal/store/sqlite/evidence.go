package sqlite

import (
	"bytes"
	"compress/flate"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/haldane-project/haldane/internal/store"
)

// partSize is how many bytes of lines a part takes before the next one begins:
// enough to compress well, and little to write again with every save.
const partSize = 64 << 10

// saveEvidence appends lines to the evidence of the look's run.
func (s *Store) saveEvidence(ctx context.Context, tx execer, _ store.Record, in store.Save) error {
	if len(in.Evidence) == 0 {
		return nil
	}
	if in.Look == nil {
		return fmt.Errorf("release %q: evidence came without a look, so it is not known of which run it is", in.Name)
	}
	run := in.Look.Run
	var part, size, stored int64
	err := tx.QueryRowContext(ctx, "SELECT coalesce(max(part), 0), coalesce(sum(length(lines)), 0) FROM evidence WHERE run = ?", run).Scan(&part, &stored)
	if err != nil {
		return err
	}
	if stored >= s.retain.EvidenceBytes {
		_, err := tx.ExecContext(ctx, "UPDATE evidence SET cut = 1 WHERE run = ? AND part = ? AND cut = 0", run, part)
		return err
	}
	lines := in.Evidence
	if part > 0 {
		var packed []byte
		if err := tx.QueryRowContext(ctx, "SELECT size, lines FROM evidence WHERE run = ? AND part = ?", run, part).Scan(&size, &packed); err != nil {
			return err
		}
		if size < partSize {
			before, err := inflate(packed, size)
			if err != nil {
				return fmt.Errorf("part %d of the evidence of run %q: %w", part, run, err)
			}
			lines = append(before, lines...)
			part--
		}
	}
	packed, err := deflate(lines)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO evidence (run, part, size, lines) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, lines = excluded.lines",
		run, part+1, len(lines), packed)
	return err
}

// Evidence returns what is kept of a run's evidence, part by part.
func (s *Store) Evidence(ctx context.Context, run string) (store.Evidence, error) {
	var found, cut bool
	err := s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1),
		EXISTS (SELECT 1 FROM evidence WHERE run = ?1 AND cut = 1)`, run).Scan(&found, &cut)
	switch {
	case err != nil:
		return store.Evidence{}, named(err)
	case !found:
		return store.Evidence{}, fmt.Errorf("run %q: %w", run, store.ErrNotFound)
	}
	return store.Evidence{ReadCloser: &evidenceReader{ctx: ctx, store: s, run: run}, Cut: cut}, nil
}

// evidenceReader holds one part at a time and no connection between two reads.
type evidenceReader struct {
	ctx   context.Context
	store *Store
	run   string
	part  int64
	rest  bytes.Reader
}

// Read implements io.Reader.
func (r *evidenceReader) Read(p []byte) (int, error) {
	for r.rest.Len() == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	return r.rest.Read(p)
}

func (r *evidenceReader) next() error {
	var size int64
	var packed []byte
	err := r.store.read.QueryRowContext(r.ctx, "SELECT part, size, lines FROM evidence WHERE run = ? AND part > ? ORDER BY part LIMIT 1", r.run, r.part).
		Scan(&r.part, &size, &packed)
	if errors.Is(err, sql.ErrNoRows) {
		return io.EOF
	}
	if err != nil {
		return named(err)
	}
	lines, err := inflate(packed, size)
	if err != nil {
		return fmt.Errorf("part %d of the evidence of run %q: %w", r.part, r.run, err)
	}
	r.rest.Reset(lines)
	return nil
}

// Close implements io.Closer.
func (r *evidenceReader) Close() error {
	r.rest.Reset(nil)
	return nil
}

func deflate(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// inflate unpacks a blob that held size bytes; any other size is damage.
func inflate(packed []byte, size int64) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(packed))
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("it unpacks to %d bytes, expected %d", n, size)
	}
	return out.Bytes(), errors.Join(err, r.Close())
}
