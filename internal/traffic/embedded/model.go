package embedded

import (
	"net/http"
	"time"

	"github.com/haldane-project/haldane/internal/inference"
	"github.com/haldane-project/haldane/internal/proxy"
	"github.com/haldane-project/haldane/internal/release"
)

// interpreter joins the engines proxy and inference, which do not know each
// other.
type interpreter struct{ *inference.Interpreter }

// dialogue does that for one request.
type dialogue struct{ *inference.Dialogue }

var _ proxy.Interpreter = interpreter{}

// interpreterOf makes the reader of a release's model traffic; nil: it has none.
func interpreterOf(m *release.Model) proxy.Interpreter {
	if m == nil {
		return nil
	}
	return interpreter{inference.New(*m)}
}

func (i interpreter) Interpret(r *http.Request) proxy.Dialogue {
	d := i.Interpreter.Interpret(r)
	if d == nil {
		return nil
	}
	return dialogue{d}
}

func (d dialogue) Answer(begin time.Time, status int, h http.Header) proxy.Reply {
	return d.Dialogue.Answer(begin, status, h)
}
