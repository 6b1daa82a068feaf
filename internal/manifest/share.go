package manifest

import (
	"fmt"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// spread shares falseRollback out: what metrics ask for, then of the rest half
// to errors and half to the others, in equal parts. Watched metrics never fail
// a run, but what they show is held to the same scale.
func (c *checker) spread(path string, specs []v1alpha1.MetricSpec, metrics []release.Metric) {
	left, errors, others := release.Full, 0, 0
	for i, s := range specs {
		switch {
		case s.Share != nil:
			at := fmt.Sprintf("%s[%d].share", path, i)
			before := len(c.problems)
			w := c.weight(at, *s.Share)
			if w == 0 && len(c.problems) == before {
				c.add(at, "to only show a metric, write onFail: watch", "a share of 0 could never find anything")
			}
			metrics[i].Share = fraction(w)
			left -= w
		case metrics[i].Kind == release.Errors:
			errors++
		default:
			others++
		}
	}
	if left < 0 || (left == 0 && errors+others > 0) {
		c.add(path, "", "the shares sum to %s of falseRollback; together with the metrics that name none at most 100%% may be spent", percentOf(1-fraction(left)))
		return
	}
	rest := fraction(left)
	if errors > 0 && others > 0 {
		rest /= 2
	}
	for i, s := range specs {
		switch {
		case s.Share != nil:
		case metrics[i].Kind == release.Errors:
			metrics[i].Share = rest / float64(errors)
		default:
			metrics[i].Share = rest / float64(others)
		}
	}
}
