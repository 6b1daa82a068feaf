package embedded

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/haldane-project/haldane/internal/release"
)

// unreadWords say why answers were not read.
var unreadWords = map[release.Unread]string{
	release.UnreadContentType: "they are neither JSON nor server-sent events",
	release.UnreadEncoding:    "they are compressed, not by gzip or deflate, or badly",
	release.UnreadBusy:        "too many compressed ones came at once",
	release.UnreadTooLarge:    "they are too long to be decompressed",
	release.UnreadBinary:      "they are in a binary form that is not read",
	release.UnreadInvalid:     "they are not the JSON that they say they are",
}

// hear counts an answer that could be read and was, or was not.
func (c *condition) hear(a *release.Answer) {
	if a.Unread == release.UnreadStatus || a.Unread == release.UnreadCut {
		return // there was no answer
	}
	c.answers++
	if a.Unread == "" {
		return
	}
	if c.unread == nil {
		c.unread = map[release.Unread]int64{}
	}
	c.unread[a.Unread]++
}

// unheard is the share of answers that were not read, and why most were not.
func (c *condition) unheard() (share float64, why release.Unread) {
	sum := int64(0)
	for _, u := range slices.Sorted(maps.Keys(c.unread)) {
		if sum += c.unread[u]; why == "" || c.unread[u] > c.unread[why] {
			why = u
		}
	}
	return float64(sum) / float64(c.answers), why
}

// unread tells of answers that nobody read: nothing that a model says is compared
// by them, and a version that began to answer so hides.
func (c *conditions) unread(stable, canary *condition) string {
	n, m := float64(canary.answers), float64(stable.answers)
	if n < leastAnswers || m < leastAnswers {
		return ""
	}
	mine, why := canary.unheard()
	usual, other := stable.unheard()
	if usual > mine {
		why = other
	}
	all := (mine*n + usual*m) / (n + m)
	differ := math.Abs(mine-usual) >= max(leastUnread, surely*math.Sqrt(all*(1-all)*(1/n+1/m)))
	if !differ && max(mine, usual) < mostUnread {
		return ""
	}
	return fmt.Sprintf("Of the answers of %s %.0f %% could not be read, of those of %s %.0f %% (%s): what they say is compared by the others alone.",
		c.subject.Canary.Name, 100*mine, c.subject.Stable.Name, 100*usual, unreadWords[why])
}

// examples show what metrics count.
func (c *conditions) examples() map[int]string {
	if c == nil || c.sides[1].problem == "" {
		return nil
	}
	out := map[int]string{}
	for i, m := range c.subject.Metrics {
		if m.Source.LLM == release.FactInvalid {
			out[i] = fmt.Sprintf("The first such answer of %s: %s.", c.subject.Canary.Name, c.sides[1].problem)
		}
	}
	return out
}
