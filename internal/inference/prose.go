package inference

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/haldane-project/haldane/internal/release"
)

// prose measures a text that comes in pieces, in a few KiB whatever its length.
type prose struct {
	rest       [utf8.UTFMax]byte // bytes of a rune whose end has not come
	left       int
	characters int
	inked      bool // something but space
	invalid    bool
	scripts    [len(scripts)]int
	idiom      idiom
	head       []byte // the beginning, for phrases
	grams      grams
}

// maxHead is how much of a text is looked at for phrases.
const maxHead = 160

func (t *prose) write(p []byte) {
	if room := maxHead - len(t.head); room > 0 {
		t.head = append(t.head, p[:min(len(p), room)]...)
	}
	for t.left > 0 && len(p) > 0 {
		t.rest[t.left] = p[0]
		t.left++
		p = p[1:]
		if !utf8.FullRune(t.rest[:t.left]) {
			continue
		}
		r, n := utf8.DecodeRune(t.rest[:t.left])
		t.rune(r, n)
		t.left = copy(t.rest[:], t.rest[n:t.left])
		if t.left > 0 && utf8.FullRune(t.rest[:t.left]) {
			// the byte that spoilt the rune begins another one, whole
			r, n := utf8.DecodeRune(t.rest[:t.left])
			t.rune(r, n)
			t.left = copy(t.rest[:], t.rest[n:t.left])
		}
	}
	for len(p) > 0 {
		if p[0] < utf8.RuneSelf {
			t.ascii(p[0])
			p = p[1:]
			continue
		}
		if !utf8.FullRune(p) {
			t.left = copy(t.rest[:], p)
			return
		}
		r, n := utf8.DecodeRune(p)
		t.rune(r, n)
		p = p[n:]
	}
}

// ascii is rune for the runes that most texts are made of.
func (t *prose) ascii(c byte) {
	t.characters++
	if c == ' ' || c >= '\t' && c <= '\r' {
		t.grams.endWord()
		t.idiom.endWord()
		return
	}
	t.inked = true
	if l := c | 0x20; l >= 'a' && l <= 'z' {
		t.scripts[0]++
		t.idiom.letter(rune(l))
	} else {
		t.idiom.endWord()
	}
	t.grams.rune(rune(c), false)
}

func (t *prose) rune(r rune, size int) {
	t.characters++
	if r == utf8.RuneError && size == 1 {
		t.invalid = true
	}
	s := scriptOf(r)
	if s == 0 {
		t.idiom.letter(lower(r))
	} else {
		t.idiom.endWord()
	}
	if unicode.IsSpace(r) {
		t.grams.endWord()
		return
	}
	t.inked = true
	if s >= 0 {
		t.scripts[s]++
	}
	t.grams.rune(r, s >= 0 && scripts[s].wordless)
}

// end closes the text and writes what was found.
func (t *prose) end(a *release.Answer) {
	t.invalid = t.invalid || t.left > 0
	t.grams.endWord()
	t.idiom.endWord()
	a.Characters, a.InvalidUTF8, a.Repeated = t.characters, a.InvalidUTF8 || t.invalid, t.grams.repeated()
	if a.Script = t.script(); a.Script == scripts[0].name {
		a.Language = t.idiom.language()
	}
	a.RefusalPhrase = refuses(t.head)
}

// scripts are those that are told apart; wordless ones put no space between words.
var scripts = [...]struct {
	name     string
	from, to rune
	wordless bool
}{
	{"Latin", 'A', 0x24F, false}, {"Greek", 0x370, 0x3FF, false}, {"Cyrillic", 0x400, 0x52F, false},
	{"Hebrew", 0x590, 0x5FF, false}, {"Arabic", 0x600, 0x77F, false}, {"Devanagari", 0x900, 0x97F, false},
	{"Thai", 0xE00, 0xE7F, true}, {"Kana", 0x3040, 0x30FF, true}, {"Han", 0x3400, 0x9FFF, true},
	{"Hangul", 0xAC00, 0xD7AF, false},
}

func scriptOf(r rune) int {
	if r < 0x250 {
		if unicode.IsLetter(r) {
			return 0
		}
		return -1
	}
	for i := range scripts {
		if r >= scripts[i].from && r <= scripts[i].to {
			return i
		}
	}
	return -1
}

// script is that of most letters. Japanese mixes Kana with Han: a tenth of Kana
// makes it Kana.
func (t *prose) script() string {
	best, kana, han := 0, 0, 0
	for i, n := range t.scripts {
		switch scripts[i].name {
		case "Kana":
			kana = i
		case "Han":
			han = i
		}
		if n > t.scripts[best] {
			best = i
		}
	}
	if t.scripts[best] == 0 {
		return ""
	}
	if best == han && t.scripts[kana]*10 >= t.scripts[han] {
		best = kana
	}
	return scripts[best].name
}

// refusals are how refusals begin. A text that begins so may still be none.
var refusals = []string{
	"i can't", "i cannot", "i can not", "i'm unable", "i am unable", "i'm not able", "i am not able", "i won't", "i will not",
	"i must decline", "i'm afraid i can't", "sorry, i can't", "sorry, but i can't", "sorry, i cannot", "sorry, but i cannot",
	"i'm sorry, i can't", "i'm sorry, but i can't", "i'm sorry, but i cannot", "i'm sorry, i cannot", "i am sorry, but i can",
	"i apologize, but i can", "as an ai", "as a language model", "unfortunately, i can't", "unfortunately, i cannot",
	// French, German, Spanish, Portuguese, Italian, Dutch, Polish, Swedish
	"je ne peux pas", "je suis désolé, mais je ne", "désolé, mais je ne peux pas", "je ne suis pas en mesure", "en tant que modèle de langage",
	"es tut mir leid, aber", "tut mir leid, aber", "leider kann ich", "dabei kann ich", "ich kann dir dabei nicht", "ich kann ihnen dabei nicht", "als sprachmodell",
	"lo siento, pero no puedo", "lo siento, no puedo", "no puedo ayudar", "como modelo de lenguaje",
	"desculpe, mas não posso", "sinto muito, mas não posso", "lamento, mas não posso", "não posso ajudar", "como modelo de linguagem",
	"mi dispiace, ma non posso", "mi dispiace, non posso", "non posso aiutar", "come modello linguistico",
	"het spijt me, maar ik kan", "sorry, maar ik kan", "helaas kan ik", "als taalmodel",
	"przykro mi, ale nie mogę", "przepraszam, ale nie mogę", "nie mogę pomóc", "jako model językowy",
	"tyvärr kan jag inte", "jag är ledsen, men jag kan inte", "jag kan inte hjälpa", "som språkmodell",
}

func refuses(head []byte) bool {
	s := strings.ToLower(strings.TrimSpace(strings.ReplaceAll(string(head), "’", "'")))
	for _, phrase := range refusals {
		if strings.HasPrefix(s, phrase) {
			return true
		}
	}
	return false
}

// grams counts which share of the runs of four words stood shortly before
// already. A text that goes in circles has nearly all of them.
type grams struct {
	word   uint32 // hash of the word under way; 0: none
	length int    // its runes
	last   [gramWords]uint32
	words  int
	seen   *[1024]uint32 // by hash; a later run takes an older one's place
	all    int
	again  int
}

const (
	gramWords  = 4
	minGrams   = 32
	longestRun = 16 // runes that are cut off as a word where no space comes
)

func (g *grams) rune(r rune, wordless bool) {
	if g.length == 0 {
		g.word = 2166136261
	}
	g.word = (g.word ^ uint32(r)) * 16777619 // FNV-1a over runes
	g.length++
	if wordless || g.length == longestRun {
		g.endWord()
	}
}

func (g *grams) endWord() {
	if g.length == 0 {
		return
	}
	copy(g.last[:], g.last[1:])
	g.last[gramWords-1] = g.word
	g.length = 0
	if g.words++; g.words < gramWords {
		return
	}
	h := uint32(2166136261)
	for _, w := range g.last {
		h = (h ^ w) * 16777619
		h ^= h >> 15
	}
	if g.seen == nil {
		g.seen = new([1024]uint32)
	}
	slot := &g.seen[h%uint32(len(g.seen))]
	g.all++
	if *slot == h {
		g.again++
	}
	*slot = h
}

// repeated reports whether half of the runs stood before.
func (g *grams) repeated() bool { return g.all >= minGrams && g.again*2 >= g.all }
