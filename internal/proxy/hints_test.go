package proxy

import (
	"context"
	"net/http/httptrace"
	"net/textproto"
)

// recorderOfHints notes the Link field of an interim answer.
type recorderOfHints struct{ link string }

func (r *recorderOfHints) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 {
				r.link = h.Get("Link")
			}
			return nil
		},
	})
}
