package inference

import (
	"math/bits"
	"strings"
	"unicode"
)

// idioms are languages of the Latin script by the words that stand in nearly every
// sentence of theirs. Neighbours share some; those that they do not share decide.
var idioms = [...]struct{ name, words string }{
	{"English", "the and of to in is that it for with as was are this be have not you but from they which or by on at an your can will"},
	{"French", "le la les de des du et est une un dans que qui pour pas sur avec sont ce cette il elle nous vous au aux en ne se plus être votre"},
	{"German", "der die das und ist nicht ein eine einen zu den dem mit von auf für sich auch als es an wird sind im oder sie wie bei nur"},
	{"Spanish", "el la los las de del que y en un una es por con para no se su al lo como más pero está son sus este muy puede"},
	{"Portuguese", "o a os as de do da dos das que e em um uma é por com para não se no na ao mais como está são seu sua pelo você"},
	{"Italian", "il lo la i gli le di del della che e in un una è per con non si da al sono come più ma questo nel dei anche può"},
	{"Dutch", "de het een en van is dat niet in op te met voor zijn die er aan ook maar als worden wordt bij naar kan om dit je"},
	{"Polish", "i w na a z się nie że do to jest o jak po co są dla przez od oraz które ale który może tak czy jego tym"},
	{"Swedish", "och att det som en är på för av med den inte till ett de om har jag kan vi sig från eller men också"},
	{"Turkish", "ve bir bu için ile da de olarak daha çok gibi olan ne en kadar sonra değil var her şey ancak veya"},
}

// longestStop is the length of the longest of those words, in letters.
const longestStop = 6

// stops are the languages of each word, as bits, by its hash.
var stops = func() map[uint32]uint16 {
	out := map[uint32]uint16{}
	for i, l := range idioms {
		for word := range strings.FieldsSeq(l.words) {
			var t idiom
			for _, r := range word {
				t.letter(r)
			}
			out[t.hash] |= 1 << i
		}
	}
	return out
}()

// idiom tells the language of a text of the Latin script.
type idiom struct {
	hash   uint32 // of the word under way
	length int    // its letters
	words  int
	hits   [len(idioms)]int
}

// letter takes the next letter of the word under way, in lower case.
func (t *idiom) letter(r rune) {
	if t.length == 0 {
		t.hash = 2166136261
	}
	t.hash = (t.hash ^ uint32(r)) * 16777619 //nolint:gosec // FNV-1a over runes
	t.length++
}

func (t *idiom) endWord() {
	if t.length == 0 {
		return
	}
	if t.words++; t.length <= longestStop {
		for set := stops[t.hash]; set != 0; set &= set - 1 {
			t.hits[bits.TrailingZeros16(set)]++
		}
	}
	t.length = 0
}

// The words of a text from which its language can be told, and from which one that
// is none of the known can be.
const (
	leastWords   = 5
	leastUnknown = 12
)

// language is the one whose words stand out; Latin: none of the known; empty: the
// text is too short to tell.
func (t *idiom) language() string {
	best, second := 0, -1
	for i := 1; i < len(t.hits); i++ {
		switch {
		case t.hits[i] > t.hits[best]:
			best, second = i, best
		case second < 0 || t.hits[i] > t.hits[second]:
			second = i
		}
	}
	switch {
	case t.words >= leastWords && t.hits[best] >= 2 && t.hits[best] > t.hits[second] && t.hits[best]*10 >= t.words:
		return idioms[best].name
	case t.words >= leastUnknown:
		return "Latin"
	}
	return ""
}

// lower is a letter of the Latin script in lower case.
func lower(r rune) rune {
	if r < unicode.MaxASCII {
		return r | 0x20
	}
	return unicode.ToLower(r)
}
