package compare

import (
	"strings"
	"unicode"
)

// similarity of two texts, 0..1: Dice's coefficient of their words and of the
// pairs of neighbouring words, without regard to case and punctuation. Two
// texts without words are alike.
func similarity(a, b string) float64 {
	if a == b {
		return 1
	}
	x, n := grams(a)
	y, m := grams(b)
	if n+m == 0 {
		return 1
	}
	common := 0
	for g, k := range x {
		common += min(k, y[g])
	}
	return 2 * float64(common) / float64(n+m)
}

func grams(s string) (count map[string]int, n int) {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	count = make(map[string]int, 2*len(words))
	for i, w := range words {
		count[w]++
		n++
		if i > 0 {
			count[words[i-1]+" "+w]++
			n++
		}
	}
	return count, n
}
