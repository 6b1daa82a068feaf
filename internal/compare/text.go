package compare

import (
	"strings"
	"unicode"
)

// similarity of two texts, 0..1: Dice's coefficient of their words and of the
// pairs of neighbouring words, without regard to case and punctuation. In
// scripts that put no space between words each letter is one. Two texts without
// words are alike.
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
	words := wordsOf(strings.ToLower(s))
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

// wordless are the scripts that put no space between words.
var wordless = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

func wordsOf(s string) (words []string) {
	begin := -1 // of the word under way
	end := func(at int) {
		if begin >= 0 {
			words = append(words, s[begin:at])
			begin = -1
		}
	}
	for at, r := range s {
		switch alone := r > unicode.MaxLatin1 && unicode.In(r, wordless...); {
		case alone:
			end(at)
			words = append(words, string(r))
		case !unicode.IsLetter(r) && !unicode.IsNumber(r):
			end(at)
		case begin < 0:
			begin = at
		}
	}
	end(len(s))
	return words
}
